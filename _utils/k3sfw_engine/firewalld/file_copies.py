"""Copies of the files that k3sfw wrote last: from them a damaged file is recognised and repaired.

All copies are in one file, so a run that is killed leaves either the old set or the new one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from pathlib import Path

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.permanent import Contents, key_of
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.model.firewall_objects import Key

FOLDER = Path("/var/lib/k3sfw/files")
_SET = "set.json"


def keep(contents: Contents, folder: Path = FOLDER) -> None:
    """Store copies of exactly these files, ignoring those that do not exist.

    Nothing is written if the copies are the same. Raises ``EngineError`` if they cannot be written.
    """
    wanted = {path: content for path, content in contents.items() if content is not None}
    if wanted == kept(folder):
        return
    try:
        if wanted:
            _write(folder, _encoded(wanted))
        else:
            _remove(folder)
    except OSError as error:
        raise EngineError([messages.no_copies(error, folder)]) from error


def kept(folder: Path = FOLDER) -> dict[Path, bytes]:
    """Return the copies; none if they cannot be read."""
    try:
        files = json.loads((folder / _SET).read_bytes())["files"]
        return {
            Path(path): base64.b64decode(content, validate=True) for path, content in files.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, binascii.Error):
        # Then no file is known to be ours, as on a node that never had any.
        return {}


def known(keys: Iterable[Key], folder: Path = FOLDER) -> frozenset[Key]:
    """Return the objects of which there is a copy, which makes them ours."""
    keys = tuple(keys)
    if not keys:
        return frozenset()
    return frozenset(keys).intersection(key_of(path) for path in kept(folder))


def _encoded(contents: dict[Path, bytes]) -> bytes:
    files = {
        str(path): base64.b64encode(content).decode() for path, content in sorted(contents.items())
    }
    return json.dumps({"files": files}).encode()


def _write(folder: Path, content: bytes) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    replace_files({folder / _SET: content}, mode=0o600, folder_mode=0o700)


def _remove(folder: Path) -> None:
    for name in (_SET, f"{_SET}.new"):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder, folder.parent):
        try:
            empty.rmdir()
        except OSError:
            # k3sfw has other files there, or the folder was never made.
            return
