"""Save iptables rules before a reload and restore them after it, by iptables-save and -restore.

firewalld before 2.0 flushes all of them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import (
    IPTABLES_KEPT_SECONDS,
    IPTABLES_LOCK_SECONDS,
    IPTABLES_SECONDS,
)
from k3sfw_engine.standalone.undo.iptables import read_save, restoration

_PROGRAMS = ("iptables", "ip6tables")

KEPT = Path("/run/k3sfw-iptables")


def keep_iptables(folder: Path = KEPT) -> None:
    """Save the rules for :py:func:`put_back_iptables` after a reload or a start of firewalld.

    They are saved to disk, so that a run which is killed meanwhile leaves them for the next.

    Raises ``EngineError`` if they cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for program, text in _saved().items():
            (folder / program).write_text(text, errors="surrogateescape")
    except OSError as error:
        raise EngineError(
            [
                Problem(
                    f"the rules of iptables cannot be saved ({error.strerror}: {error.filename}), "
                    "and firewalld may flush them; nothing was changed",
                    f"remove {folder}, make sure that there is room, then apply again",
                )
            ]
        ) from error


def put_back_iptables(folder: Path = KEPT) -> Iterator[str]:
    """Restore the saved rules that are gone, once; yield a sentence for each failure."""
    try:
        saved = [folder / name for name in _PROGRAMS if (folder / name).exists()]
        stale = {
            path.name
            for path in saved
            if time.time() - path.stat().st_mtime > IPTABLES_KEPT_SECONDS
        }
        before = {path.name: read_save(path.read_text(errors="surrogateescape")) for path in saved}
    except OSError as error:
        yield str(
            Problem(
                f"the saved rules of iptables cannot be read ({error.strerror}: {error.filename})",
                f"remove {folder}",
            )
        )
        return
    after = {name: read_save(text) for name, text in (_saved() if before else {}).items()}
    for name, rules in before.items():
        if name not in after:
            yield _lost(name, f"{name}-save fails")
        elif lost := restoration(rules, after[name]):
            if name in stale:
                yield _lost(name, "they were saved too long ago, and may have changed since")
            elif reason := _restore(name, lost):
                yield _lost(name, reason)
    for path in saved:
        path.unlink(missing_ok=True)


def has_rules() -> bool:
    """Whether any program has rules in iptables."""
    return any(line.startswith("-A") for text in _saved().values() for line in text.splitlines())


def _lost(program: str, reason: str) -> str:
    return str(
        Problem(
            f"firewalld may have removed rules of other programs from {program}, and they could "
            f"not be restored ({reason})",
            "restart the programs that made them (systemctl restart k3s or k3s-agent)",
        )
    )


def _saved() -> dict[str, str]:
    running = {name: _start(f"{name}-save") for name in _PROGRAMS}
    found = {}
    for name, process in running.items():
        if process is not None:
            done = run_program.finish(process, IPTABLES_SECONDS)
            if done.code == 0:
                found[name] = done.output.decode(errors="surrogateescape")
    return found


def _restore(program: str, rules: str) -> str:
    """Restore rules; why it failed, or an empty text."""
    process = _start(f"{program}-restore", "--noflush", "--wait", str(IPTABLES_LOCK_SECONDS))
    if process is None:
        return "its program is gone"
    done = run_program.finish(process, IPTABLES_SECONDS, rules.encode(errors="surrogateescape"))
    if done.timed_out:
        return f"no end within {IPTABLES_SECONDS:.0f} seconds"
    return "" if done.code == 0 else done.reason


def _start(program: str, *arguments: str) -> subprocess.Popen[bytes] | None:
    path = run_program.find_program(program)
    return None if path is None else run_program.start(path, *arguments)
