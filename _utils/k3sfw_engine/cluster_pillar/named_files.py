"""Files that an operator names on the command line: written as a whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.host.atomic_files import replace_file_of_operator

# Readers of a report are not always root, and no answer holds a key.
_MODE = 0o644


def full_path(typed: str) -> Path:
    """Return the path that the operator typed. Raises ``EngineError`` if ``~`` is of no user."""
    try:
        return Path(typed).expanduser().absolute()
    except RuntimeError as error:
        problem = Problem(f"{typed}: this host has no such user", "give the whole path")
        raise EngineError([problem]) from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the operator named, as a whole. Raises ``EngineError`` if it cannot be."""
    if path.is_dir():
        raise EngineError([Problem(f"{path} is a folder", "give the name of a file")])
    if not path.parent.is_dir():
        raise EngineError([Problem(f"{path.parent} is not a folder", f"mkdir -p {path.parent}")])
    try:
        replace_file_of_operator(path, content, mode=_mode_of(path))
    except OSError as error:
        raise EngineError(
            [Problem(f"{path} cannot be written: {error.strerror}", "give another file")]
        ) from error


def _mode_of(path: Path) -> int:
    """The mode of the file that is replaced: an operator may have made it private."""
    return path.stat().st_mode & 0o777 if path.exists() else _MODE
