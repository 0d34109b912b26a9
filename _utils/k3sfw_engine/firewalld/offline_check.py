"""Let firewalld's own program check a configuration where no second firewalld can be started.

It reads the files as a start would, but makes no rules, so it needs no namespaces and no D-Bus.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.defaults import CHECK_SECONDS
from k3sfw_engine.firewalld.permanent import FOLDERS, Contents
from k3sfw_engine.host.run_program import Finished, find_program, run

_PROGRAM = "firewall-offline-cmd"


def check_offline(contents: Contents) -> bool:
    """Check the permanent configuration with these files in place of the present ones.

    Returns whether it could be checked: not if firewalld refuses its own files as well, as one that
    is installed in part. Nothing but a copy is written.

    Raises ``EngineError`` if firewalld would not load it.
    """
    program = find_program(_PROGRAM)
    if program is None:
        return False
    with tempfile.TemporaryDirectory(prefix="k3sfw-check-") as folder:
        copy, stock = Path(folder) / "firewalld", Path(folder) / "stock"
        stock.mkdir()
        if FOLDERS[0].exists():
            shutil.copytree(FOLDERS[0], copy, ignore_dangling_symlinks=True)
        _lay_over(copy, contents)
        done = _check(program, copy)
        if done.code == 0:
            return True
        if done.timed_out or _check(program, stock).code != 0:
            return False
        new_ones = _check(program, FOLDERS[0]).code == 0
        reason = _reason(done).replace(str(copy), str(FOLDERS[0]))
        raise EngineError([messages.check_failed(reason, new_ones=new_ones)])


def _check(program: str, folder: Path) -> Finished:
    options = (f"--system-config={folder}", "--check-config")
    return run(program, *options, seconds=CHECK_SECONDS)


def _lay_over(copy: Path, contents: Contents) -> None:
    for path, content in contents.items():
        target = copy / os.path.relpath(path, FOLDERS[0])
        target.unlink(missing_ok=True)
        if content is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _reason(done: Finished) -> str:
    """What it printed, without the words before the reason."""
    text = (done.errors or done.output).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line.partition(": ")[2] if line.startswith("Configuration") else line for line in lines]
    return " ".join(dict.fromkeys(said)) or f"{_PROGRAM} ended with {done.code}"
