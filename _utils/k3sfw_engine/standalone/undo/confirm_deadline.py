"""Until when an operator may confirm a transaction, by a clock that nothing sets.

Setting the wall clock neither lengthens nor ends the wait; a reboot ends it.
"""

import os
import time

# The file, in the folder of its transaction.
CONFIRM_BY = "confirm-by"


def until(seconds: float) -> str:
    """The moment in so many seconds, as it is written to disk."""
    return "{} {}".format(time.monotonic() + seconds, _boot())


def waits_for_confirmation(folder: str) -> bool:
    """Whether the transaction may still be confirmed."""
    try:
        with open(os.path.join(folder, CONFIRM_BY)) as file:
            moment, boot = file.read().split()
            return boot == _boot() and time.monotonic() < float(moment)
    except (FileNotFoundError, ValueError):
        return False


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
