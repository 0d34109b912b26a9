"""When this node last asked each peer by packets: the record behind the oldest proof.

It is kept beside the journal, and holds nothing but names of nodes and times.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from k3sfw_engine.errors import Problem
from k3sfw_engine.host.atomic_files import replace_files

RECORD = Path("/var/lib/k3sfw/asked.json")
_FORMAT = 1


def read_proofs(now: int, path: Path = RECORD) -> tuple[dict[str, int], tuple[Problem, ...]]:
    """Return when each peer was last asked, in seconds since 1970, and what could not be read.

    A time in the future is of a clock that was wrong, and proves nothing.
    """
    try:
        found = _parse(path.read_bytes())
    except FileNotFoundError:
        return {}, ()
    except (OSError, ValueError) as error:
        return {}, (
            Problem(
                f"{path}, the record of which peer was asked when, cannot be read ({error}) and "
                "is begun anew"
            ),
        )
    return {peer: at for peer, at in found.items() if at <= now}, ()


def note_proofs(
    asked: Collection[str], peers: Collection[str], now: int, path: Path = RECORD
) -> tuple[Mapping[str, int], tuple[Problem, ...]]:
    """Note that these peers were asked now; return the whole record, and what went wrong.

    peers
        All peers that the tables list. Others are forgotten, so the record does not grow.
    """
    try:
        with _held(path.parent):
            before, problems = read_proofs(now, path)
            found = {peer: at for peer, at in before.items() if peer in peers}
            found.update({peer: now for peer in asked if peer in peers})
            if found != before or problems:
                text = json.dumps({"format": _FORMAT, "peers": dict(sorted(found.items()))})
                replace_files({path: f"{text}\n".encode()}, mode=0o644, folder_mode=0o700)
    except OSError as error:
        unwritten = Problem(f"{path}, the record of which peer was asked when: {error}")
        return {peer: now for peer in asked if peer in peers}, (unwritten,)
    return found, problems


def _parse(content: bytes) -> dict[str, int]:
    raw = json.loads(content)
    if not isinstance(raw, dict) or raw.get("format") != _FORMAT:
        raise ValueError(f"not a record of format {_FORMAT}")
    peers = raw.get("peers")
    if not isinstance(peers, dict) or any(type(at) is not int or at < 0 for at in peers.values()):
        raise ValueError("its peers are not names with times")
    return peers


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other writers waiting: a schedule and an operator may check at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
