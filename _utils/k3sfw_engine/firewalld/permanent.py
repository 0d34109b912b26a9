"""firewalld's permanent configuration: read and replace its files.

Files, not D-Bus: they are what the next start loads. firewalld itself notices an edit five seconds
late, because its watcher waits that long, and misses a file that a full disk cut short.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.permanent_xml import read_content, write_object
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.model.firewall_objects import (
    PREFIX,
    ZONE,
    FirewalldObject,
    Key,
    Kind,
    Objects,
    by_key,
)
from k3sfw_engine.model.zone_bindings import Bindings

# The first folder hides what has the same name in the second.
FOLDERS = (Path("/etc/firewalld"), Path("/usr/lib/firewalld"))
# That of a firewalld without a setting.
STOCK_DEFAULT_ZONE = "public"
_SUBFOLDERS = {Kind.IPSET: "ipsets", Kind.ZONE: "zones", Kind.POLICY: "policies"}


@dataclass(frozen=True)
class Permanent:
    """The objects whose names begin with k3s, and what of the others concerns them.

    damaged
        Objects of such a name whose file cannot be read.
    bindings
        The interfaces and sources of all zones.
    users
        For an object of such a name, the other objects that refer to it.
    others
        The zones and policies of other names, as far as they can be read.
    nftables
        Whether firewalld uses its nftables backend.
    default
        The default zone.
    """

    objects: Objects
    damaged: frozenset[Key]
    bindings: Bindings
    users: Mapping[Key, tuple[str, ...]]
    others: Objects
    nftables: bool
    default: str

    @property
    def zones(self) -> frozenset[str]:
        """The names of all zones that can be read."""
        keys = (*self.others, *self.objects)
        return frozenset(name for kind, name in keys if kind is Kind.ZONE)

    def zones_of_others(self, active: Iterable[str]) -> frozenset[str]:
        """The zones in use but ours: these, those with bindings and the default one."""
        return frozenset({self.default, *active, *self.bindings.zones} - {ZONE})

    def zones_of_others_drop(self, active: Iterable[str]) -> bool:
        """Whether all zones in use but ours drop."""
        zones = (self.others.get((Kind.ZONE, name)) for name in self.zones_of_others(active))
        return all(zone is not None and zone.settings["target"] == "DROP" for zone in zones)


def read_permanent(folders: tuple[Path, ...] = FOLDERS) -> Permanent:
    """Read the permanent configuration from these folders."""
    objects: list[FirewalldObject] = []
    others: list[FirewalldObject] = []
    damaged: set[Key] = set()
    interfaces: dict[str, str] = {}
    sources: dict[str, str] = {}
    users: dict[Key, tuple[str, ...]] = {}
    for kind in Kind:
        for name, path in _files(kind, folders).items():
            named_like_ours = name.startswith(PREFIX)
            if kind is Kind.IPSET and not named_like_ours:
                continue
            try:
                each, names_like_ours = read_content(kind, name, path.read_bytes())
            except (ElementTree.ParseError, OSError, ValueError, LookupError):
                if named_like_ours:
                    damaged.add((kind, name))
                continue
            if kind is Kind.ZONE:
                interfaces.update(dict.fromkeys(each.items("interfaces"), name))
                sources.update(dict.fromkeys(each.items("sources"), name))
            if named_like_ours:
                objects.append(each)
            else:
                others.append(each)
                for key in names_like_ours:
                    users[key] = (*users.get(key, ()), f"{kind.value} {name}")
    return Permanent(
        objects=by_key(objects),
        damaged=frozenset(damaged),
        bindings=Bindings(interfaces, sources),
        users=users,
        others=by_key(others),
        nftables=_setting(folders[0], "FirewallBackend") in ("", "nftables"),
        default=_setting(folders[0], "DefaultZone") or STOCK_DEFAULT_ZONE,
    )


def has_policies_of_ours(folder: Path = FOLDERS[0]) -> bool:
    """Whether there is a file of a policy that is named like ours: every node of ours has some."""
    return any((folder / _SUBFOLDERS[Kind.POLICY]).glob(f"{PREFIX}*.xml"))


def _setting(folder: Path, name: str) -> str:
    """A setting of firewalld.conf; empty if it is not set."""
    try:
        lines = (folder / "firewalld.conf").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    values = [line.split("=", 1)[1].strip() for line in lines if line.startswith(f"{name}=")]
    return values[-1] if values else ""


# The contents of files by path; ``None`` where there is no file.
Contents = Mapping[Path, Optional[bytes]]


def contents_of(
    objects: Iterable[FirewalldObject], gone: Iterable[Key] = (), folder: Path = FOLDERS[0]
) -> Contents:
    """Return the files of these objects as they are to be, and no file for those that are gone."""
    removed = dict.fromkeys(paths_of(gone=gone, folder=folder))
    return {**removed, **{_path(folder, *each.key): write_object(each) for each in objects}}


def paths_of(
    keys: Iterable[Key] = (), gone: Iterable[Key] = (), folder: Path = FOLDERS[0]
) -> Iterator[Path]:
    """Return the files of these objects, and what goes with those that are gone."""
    for key in gone:
        path = _path(folder, *key)
        yield path
        # firewalld keeps a copy of a file that it removed.
        yield path.with_suffix(".xml.old")
    for key in keys:
        yield _path(folder, *key)


def files_of(keys: Iterable[Key], folder: Path = FOLDERS[0]) -> Contents:
    """Return the files of these objects as they are now."""
    return as_they_are(paths_of(keys, folder=folder))


def as_they_are(paths: Iterable[Path]) -> Contents:
    """Return what these files hold now."""
    return {path: path.read_bytes() if path.exists() else None for path in paths}


def put_files(wanted: Contents) -> None:
    """Write these files, as atomically as the file system allows.

    firewalld reads them at its next start or reload. It would write them in place itself: what a
    full disk leaves of such a file keeps firewalld from starting.

    Raises ``EngineError`` if they cannot be written; then all are as they were.
    """
    before: Contents = {}
    try:
        before = as_they_are(wanted)
        _put(wanted)
    except OSError as error:
        put_back_files(before)
        raise EngineError([messages.cannot_be_written(error, FOLDERS[0])]) from error


def key_of(path: Path) -> Key:
    """Return the object whose file this is."""
    kinds = {subfolder: kind for kind, subfolder in _SUBFOLDERS.items()}
    return kinds[path.parent.name], path.stem


def put_back_files(before: Contents) -> None:
    """Restore the files.

    Raises ``EngineError`` that names the file which cannot be restored.
    """
    try:
        now = as_they_are(before)
        _put({path: content for path, content in before.items() if now[path] != content})
    except OSError as error:
        raise EngineError([messages.cannot_be_restored(error)]) from error


def _put(contents: Contents) -> None:
    replace_files(contents, mode=0o644, folder_mode=0o750)


def _path(folder: Path, kind: Kind, name: str) -> Path:
    return folder / _SUBFOLDERS[kind] / f"{name}.xml"


def _files(kind: Kind, folders: tuple[Path, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in reversed(folders):
        for path in sorted((folder / _SUBFOLDERS[kind]).glob("*.xml")):
            found[path.stem] = path
    return found
