"""Find a program of the host, start it with a fixed environment, and end it at a deadline.

It does not know what a program is for: callers say what a missing, failed or hanging one means.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NamedTuple

# Where a daemon's or a cron job's PATH may lack them.
_SYSTEM_FOLDERS = "/usr/sbin:/sbin"
# The same words in every locale. nft --interactive keeps a history in HOME, or in the root folder
# without one.
ENVIRONMENT = {"LC_ALL": "C", "HOME": os.devnull, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Finished(NamedTuple):
    """A program that ended, or was killed at its deadline (``timed_out``)."""

    code: int
    output: bytes
    errors: bytes
    timed_out: bool = False

    @property
    def reason(self) -> str:
        """The last line that it wrote to stderr, as the reason why it failed."""
        lines = self.errors.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no reason given"


def find_program(name: str, *more_folders: str) -> str | None:
    """The path of a program, or ``None`` if it is not installed."""
    folders = ":".join((os.environ.get("PATH", ""), _SYSTEM_FOLDERS, *more_folders))
    return shutil.which(name, path=folders)


def start(path: str, *arguments: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start a program; its output is kept for ``finish``."""
    return subprocess.Popen(
        [path, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )


def finish(
    process: subprocess.Popen[bytes], seconds: float, given: bytes | None = None
) -> Finished:
    """Hand a program its input and wait for its end; kill it at the deadline."""
    try:
        output, errors = process.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Finished(-1, b"", b"", timed_out=True)
    return Finished(process.returncode, output, errors)


def run(path: str, *arguments: str, seconds: float) -> Finished:
    """Run a program without input."""
    return finish(start(path, *arguments, stdin=subprocess.DEVNULL), seconds)
