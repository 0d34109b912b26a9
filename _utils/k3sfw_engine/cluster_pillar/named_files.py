"""Files that an operator names on the command line: written as a whole, or not at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
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


def refuse_unwritable(named: Mapping[str, Path]) -> None:
    """Raise ``EngineError`` with every reason why these files could not be written.

    named
        The files, by the arguments that name them: before anything that takes long is begun.
    """
    problems = [
        Problem(f"{argument}={problem.text}", problem.fix)
        for argument, path in named.items()
        for problem in _problems_of(path)
    ]
    first = {path: argument for argument, path in reversed([*named.items()])}
    problems += [
        Problem(f"{first[path]}= and {argument}= name the same file, {path}", "name two files")
        for argument, path in named.items()
        if first[path] != argument
    ]
    if problems:
        raise EngineError(problems)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the operator named, as a whole. Raises ``EngineError`` if it cannot be."""
    problems = [*_problems_of(path)]
    if problems:
        raise EngineError(problems)
    try:
        replace_file_of_operator(path, content, mode=_mode_of(path))
    except OSError as error:
        raise EngineError(
            [Problem(f"{path} cannot be written: {error.strerror}", "give another file")]
        ) from error


def _problems_of(path: Path) -> Iterator[Problem]:
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        yield Problem(f"{path} is a link of another user", "name another file")
    elif path.is_dir():
        yield Problem(f"{path} is a folder", "give the name of a file")
    elif path.exists() and not path.is_file():
        # /dev/null, say: a file would take its place.
        yield Problem(f"{path} is a device or a pipe", "give the name of a file")
    elif not path.parent.is_dir():
        yield Problem(f"{path.parent} is not a folder", f"mkdir -p {shlex.quote(str(path.parent))}")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        fix = "name a file in a folder that you may write to, or run salt-run as root"
        yield Problem(f"{path.parent} may not be written to", fix)


def _mode_of(path: Path) -> int:
    """The mode of the file that is replaced: an operator may have made it private."""
    return path.stat().st_mode & 0o777 if path.exists() else _MODE
