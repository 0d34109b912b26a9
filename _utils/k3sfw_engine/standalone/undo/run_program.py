"""Programs of the host, run with a deadline and in a fixed environment."""

import os
import subprocess
from typing import Optional, Sequence

from .defaults import ANSWER

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.devnull}


def run_program(command: Sequence[str], deadline: float = ANSWER, given: str = "") -> Optional[str]:
    """What the program prints, or None if it is missing, fails or does not end."""
    try:
        done = subprocess.run(
            command,
            input=given.encode("latin-1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            timeout=deadline,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("latin-1")


def nft_table_exists(name: str) -> bool:
    """Whether nft has the table of this name in the family inet."""
    # Not by listing the table itself: with many entries that takes long.
    return "table inet " + name in (run_program(["nft", "list", "tables"]) or "").splitlines()
