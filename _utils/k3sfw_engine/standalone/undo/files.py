"""Files replaced as a whole, and waited for until they are on disk."""

import contextlib
import os
from typing import Mapping, Optional


def put_back_files(files: Mapping[str, Optional[str]]) -> None:
    """Give these files their text again; ``None`` removes one.

    All are on disk before the first takes its place.
    """
    staged = {}
    for path, text in files.items():
        waiting = path + ".new"
        if os.path.lexists(waiting):
            os.unlink(waiting)
        content = None if text is None else text.encode("latin-1")
        if content == content_of(path):
            continue
        if content is None:
            os.unlink(path)
            continue
        staged[waiting] = path
        with open(waiting, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for waiting, path in staged.items():
        os.replace(waiting, path)
    # The names, too: the undo is noted next, perhaps on another disk.
    for folder in {os.path.dirname(path) for path in files}:
        if os.path.isdir(folder):
            sync(folder)


def sync(path: str) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def content_of(path: str) -> Optional[bytes]:
    """The content of a file, or None if there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def keep_for_later(path: str, text: str) -> None:
    """Write a file for the next program, if the disk allows: the undo itself is more urgent."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "w", encoding="latin-1") as file:
            file.write(text)
