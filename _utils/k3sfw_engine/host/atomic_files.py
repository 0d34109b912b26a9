"""Replace files, each as a whole or not at all; they are on disk when the call returns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from k3sfw_engine.host.defaults import SYNCED_TOGETHER
from k3sfw_engine.standalone.undo.files import sync


def replace_files(contents: Mapping[Path, bytes | None], *, mode: int, folder_mode: int) -> None:
    """Give files these contents, and remove those whose content is ``None``.

    All are on the disk before the first takes its place. Folders are created where they are
    missing.

    Raises ``OSError``; then some files may have been replaced, each of them as a whole.
    """
    # One name for each file: what a killed run left is overwritten by the next.
    staged = {
        path: path.with_name(f"{path.name}.new")
        for path, content in contents.items()
        if content is not None
    }
    try:
        for path, waiting in staged.items():
            path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
            _write(waiting, contents[path] or b"", mode)
        _sync_all(staged.values())
        for path, waiting in staged.items():
            os.replace(waiting, path)
    finally:
        for waiting in staged.values():
            waiting.unlink(missing_ok=True)
    for path, content in contents.items():
        if content is None:
            path.unlink(missing_ok=True)
    # The names, too: what is noted next, in a journal, may lie on another disk.
    _sync_all(folder for folder in {path.parent for path in contents} if folder.is_dir())


def _sync_all(paths: Iterable[Path]) -> None:
    """Wait for all of them together: the disk then takes many in the time of a few."""
    with ThreadPoolExecutor(max_workers=SYNCED_TOGETHER) as beside:
        list(beside.map(sync, map(str, paths)))


def _write(path: Path, content: bytes, mode: int) -> None:
    # With its mode from the start, so that a secret is never readable for a moment.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)


def replace_file_of_operator(path: Path, content: bytes, *, mode: int) -> None:
    """Give a file that an operator named this content, whole or not at all.

    The folder may be one that others write to, such as /tmp: the content waits under a name that
    they cannot guess, so that they cannot lay a link there.

    Raises ``OSError``; then the file is as it was.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
        sync(name)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    sync(str(path.parent))
