"""The tables of iptables, read and put back by its own programs, which firewalld uses too."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from k3sfw_engine.errors import EngineError
from k3sfw_engine.standalone.undo.iptables import read_save, restoration

_DEADLINE = 30.0
_FAMILIES = ("iptables", "ip6tables")

KEPT = Path("/run/k3sfw-iptables")
# What is older was left by a start that never came; the owners have made their rules anew since.
_KEPT_SECONDS = 900.0


def keep_iptables(folder: Path = KEPT) -> None:
    """Write the rules down, for :py:func:`put_back_iptables` after a reload or a start.

    On the disk, so that a run which is killed meanwhile leaves them for the next.

    Raises ``EngineError`` if they cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for family, text in _saved().items():
            (folder / family).write_text(text, errors="surrogateescape")
    except OSError as error:
        raise EngineError(
            [
                f"the rules of iptables cannot be kept ({error.strerror}: {error.filename}), which "
                f"firewalld may flush; nothing was changed. Fix: remove {folder}, see that there "
                "is room, then apply again"
            ]
        ) from error


def put_back_iptables(folder: Path = KEPT) -> Iterator[str]:
    """Bring back what is gone of the rules that were kept, once; sentences about what failed."""
    try:
        kept = [folder / family for family in _FAMILIES if (folder / family).exists()]
        old = {path.name for path in kept if time.time() - path.stat().st_mtime > _KEPT_SECONDS}
        before = {path.name: read_save(path.read_text(errors="surrogateescape")) for path in kept}
    except OSError as error:
        yield (
            f"the rules of iptables that were kept cannot be read ({error.strerror}: "
            f"{error.filename}). Fix: remove {folder}; if hostPorts are gone, make their pods anew"
        )
        return
    after = {family: read_save(text) for family, text in (_saved() if before else {}).items()}
    for family, rules in before.items():
        if family not in after:
            yield _lost(family, f"{family}-save fails")
        elif lost := restoration(rules, after[family]):
            if family in old:
                yield _lost(family, "they were kept for too long, and may be others by now")
                continue
            process = _start(f"{family}-restore", "--noflush", "--wait", "5")
            said = "its program is gone" if process is None else _finish(process, lost)[1].strip()
            if process is None or process.returncode != 0:
                yield _lost(family, said)
    for path in kept:
        path.unlink(missing_ok=True)


def _lost(family: str, error: str) -> str:
    return (
        f"firewalld may have taken rules out of {family} that others made, and they could not be "
        f"put back ({error}). Fix: restart what made them (systemctl restart k3s or k3s-agent; "
        "pods with a hostPort anew)"
    )


def _saved() -> dict[str, str]:
    running = {family: _start(f"{family}-save") for family in _FAMILIES}
    found = {}
    for family, process in running.items():
        if process is not None:
            text, _error = _finish(process)
            if process.returncode == 0:
                found[family] = text
    return found


def _start(program: str, *arguments: str) -> subprocess.Popen[str] | None:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        return None
    return subprocess.Popen(
        [path, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        env={"LC_ALL": "C"},
    )


def _finish(process: subprocess.Popen[str], given: str = "") -> tuple[str, str]:
    """What the program wrote; of one that does not end, that it was killed."""
    try:
        return process.communicate(given, timeout=_DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "", f"no end within {_DEADLINE:.0f} seconds"
