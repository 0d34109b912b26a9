"""Find the Python that firewalld runs with: unlike Salt's, it has firewalld's library."""

from __future__ import annotations

import os
import shutil


def firewalld_python() -> str | None:
    """Return the interpreter that the first line of the program names, or None."""
    program = shutil.which("firewalld", path="/usr/sbin:/sbin:/usr/local/sbin")
    if program is None:
        return None
    with open(program, "rb") as file:
        line = os.fsdecode(file.readline())
    words = [word for word in line[2:].split() if line.startswith("#!") and word[0] != "-"]
    if words and os.path.basename(words[0]) == "env":
        del words[0]
    return shutil.which(words[0], path="/usr/bin:/bin:/usr/local/bin") if words else None
