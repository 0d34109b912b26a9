"""Run a program of the host, with a deadline and a fixed environment."""

import os
import subprocess
from typing import Optional, Sequence

DEADLINE = 8.0
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.devnull}


def table_is_there(name: str) -> bool:
    # Not the table itself: with many entries it takes long.
    return "table inet " + name in (run_program(["nft", "list", "tables"]) or "").splitlines()


def run_program(
    command: Sequence[str], deadline: float = DEADLINE, given: str = ""
) -> Optional[str]:
    """What the program prints; ``None`` if it is not there, fails or does not end."""
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
