"""Runs inside a host: times one command and tells its peak memory, as JSON on stdout.

It imports next to nothing: the peak of a process begins with that of the process which started it.
"""

import json
import os
import sys
import tempfile
import time


def main(argv: list) -> None:
    """Run the command; its output goes to files, so that no pipe holds it up."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        pid = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, errors.fileno(), 2),
            ],
        )
        _pid, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - began
        told = {"seconds": seconds, "mebibytes": usage.ru_maxrss / 1024, "status": status}
        for name, file in (("out", out), ("errors", errors)):
            file.seek(0)
            told[name] = file.read().decode(errors="replace")
    json.dump(told, sys.stdout)


main(sys.argv[1:])
