"""firewalld's permanent configuration, read from its files.

The files are what the next start loads. firewalld's own view of them, on D-Bus, is five seconds
late after an edit (its watcher waits that long) and misses a file that a full disk cut short.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.model.firewall_objects import (
    PREFIX,
    FirewalldObject,
    Key,
    Kind,
    Objects,
    Value,
    by_key,
    make_object,
)
from k3sfw_engine.model.rich_rules import RichRule, parse_rich_rule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.model.zone_bindings import Bindings

# The first folder hides what has the same name in the second.
FOLDERS = (Path("/etc/firewalld"), Path("/usr/lib/firewalld"))
_SUBFOLDERS = {Kind.IPSET: "ipsets", Kind.ZONE: "zones", Kind.POLICY: "policies"}

# Elements that hold one value, and the setting that it belongs to.
_VALUES: Mapping[str, tuple[str, str]] = {
    "interface": ("interfaces", "name"),
    "service": ("services", "name"),
    "icmp-block": ("icmp_blocks", "name"),
    "protocol": ("protocols", "value"),
    "ingress-zone": ("ingress_zones", "name"),
    "egress-zone": ("egress_zones", "name"),
}
_FLAGS = {
    "masquerade": "masquerade",
    "forward": "forward",
    "icmp-block-inversion": "icmp_block_inversion",
}
_PORTS = {"port": "ports", "source-port": "source_ports", "forward-port": "forward_ports"}


@dataclass(frozen=True)
class Permanent:
    """The objects whose names begin with k3s, and what of others has to do with them.

    damaged
        Objects of such a name that cannot be read.
    bindings
        What the zones are bound to.
    users
        For an object of such a name, the objects of other names that refer to it.
    others
        The zones and policies of other names, as far as they can be read.
    nftables
        Whether firewalld makes its rules with nftables.
    """

    objects: Objects
    damaged: frozenset[Key]
    bindings: Bindings
    users: Mapping[Key, tuple[str, ...]]
    others: Objects
    nftables: bool

    @property
    def zones(self) -> frozenset[str]:
        """The names of all zones that can be read."""
        keys = (*self.others, *self.objects)
        return frozenset(name for kind, name in keys if kind is Kind.ZONE)


def read_permanent(folders: tuple[Path, ...] = FOLDERS) -> Permanent:
    """Read the permanent configuration."""
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
                root = ElementTree.fromstring(path.read_bytes())
                each = make_object(kind, name, _settings(kind, root))
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
                for key in _names(root):
                    users[key] = (*users.get(key, ()), f"{kind.value} {name}")
    return Permanent(
        objects=by_key(objects),
        damaged=frozenset(damaged),
        bindings=Bindings(interfaces, sources),
        users=users,
        others=by_key(others),
        nftables=_has_nftables(folders[0]),
    )


def _has_nftables(folder: Path) -> bool:
    """firewalld's own answer comes from this file too; nftables is its default."""
    try:
        lines = (folder / "firewalld.conf").read_text(errors="replace").splitlines()
    except OSError:
        return True
    values = [
        line.split("=", 1)[1].strip() for line in lines if line.startswith("FirewallBackend=")
    ]
    return not values or values[-1] == "nftables"


def _names(root: ElementTree.Element) -> Iterator[Key]:
    """The objects named like ours that another one refers to."""
    for element in root.iter():
        ipset = element.get("ipset", "")
        zone = element.get("name", "") if element.tag in ("ingress-zone", "egress-zone") else ""
        if ipset.startswith(PREFIX):
            yield Kind.IPSET, ipset
        if zone.startswith(PREFIX):
            yield Kind.ZONE, zone


# What files hold; ``None`` is no file.
Contents = Mapping[Path, Optional[bytes]]


def contents_of(
    objects: Iterable[FirewalldObject], gone: Iterable[Key] = (), folder: Path = FOLDERS[0]
) -> Contents:
    """The files of these objects as they shall be, and none of those that are gone."""
    wanted: dict[Path, bytes | None] = {}
    for key in gone:
        path = _path(folder, *key)
        # firewalld keeps a copy of a file that it removed.
        wanted.update({path: None, path.with_suffix(".xml.old"): None})
    wanted.update({_path(folder, *each.key): _xml(each) for each in objects})
    return wanted


def files_of(keys: Iterable[Key], folder: Path = FOLDERS[0]) -> Contents:
    """The files of these objects as they are."""
    return as_they_are(_path(folder, *key) for key in keys)


def as_they_are(paths: Iterable[Path]) -> Contents:
    """What these files hold now."""
    return {path: path.read_bytes() if path.exists() else None for path in paths}


def put_files(wanted: Contents) -> None:
    """Have these files, in one move as far as a disk has one.

    firewalld reads them at its next start or reload, and what it shows of its permanent
    configuration follows within seconds. It would write them in place itself: on a full disk what
    is left of them keeps it from starting.

    Raises ``EngineError`` if they cannot be written; then they are what they were.
    """
    before: Contents = {}
    try:
        before = as_they_are(wanted)
        _put(wanted)
    except OSError as error:
        put_back_files(before)
        raise EngineError(
            [
                f"the permanent configuration cannot be written ({error.strerror}: "
                f"{error.filename}); nothing of it was changed. Fix: make room, or "
                f"{FOLDERS[0]} writable, then apply again"
            ]
        ) from error


def key_of(path: Path) -> Key:
    """The object whose file this is."""
    kinds = {subfolder: kind for kind, subfolder in _SUBFOLDERS.items()}
    return kinds[path.parent.name], path.stem


def put_back_files(before: Contents) -> None:
    """Have the files as they were.

    Raises ``EngineError`` that names the one which could not be.
    """
    try:
        now = as_they_are(before)
        _put({path: content for path, content in before.items() if now[path] != content})
    except OSError as error:
        raise EngineError(
            [
                f"files of the permanent configuration were changed and cannot be put back "
                f"({error.strerror}: {error.filename}). Fix: make room, or the folder writable, "
                "then apply again"
            ]
        ) from error


def _put(contents: Contents) -> None:
    replace_files(contents, mode=0o644, folder_mode=0o750)


def _path(folder: Path, kind: Kind, name: str) -> Path:
    return folder / _SUBFOLDERS[kind] / f"{name}.xml"


def _xml(each: FirewalldObject) -> bytes:
    root = ElementTree.Element(each.kind.value, _attributes(each))
    for setting in ("short", "description"):
        ElementTree.SubElement(root, setting).text = str(each.settings[setting])
    for element, setting in _FLAGS.items():
        if each.settings.get(setting):
            ElementTree.SubElement(root, element)
    for element, (setting, attribute) in _VALUES.items():
        for value in each.items(setting) if setting in each.settings else ():
            ElementTree.SubElement(root, element, {attribute: value})
    if each.kind is Kind.IPSET:
        for option in each.items("options"):
            name, _equals, value = option.partition("=")
            ElementTree.SubElement(root, "option", {"name": name, "value": value})
        for entry in each.items("entries"):
            ElementTree.SubElement(root, "entry").text = entry
    if each.kind is Kind.POLICY:
        root.extend(_rule_element(rule) for rule in each.items("rich_rules"))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _files(kind: Kind, folders: tuple[Path, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in reversed(folders):
        for path in sorted((folder / _SUBFOLDERS[kind]).glob("*.xml")):
            found[path.stem] = path
    return found


def _settings(kind: Kind, root: ElementTree.Element) -> dict[str, Value]:
    settings: dict[str, Value] = {}
    lists: dict[str, list[str]] = {}
    if kind is Kind.IPSET:
        settings["type"] = root.get("type", "")
    if "target" in root.attrib:
        settings["target"] = root.attrib["target"]
    if "priority" in root.attrib:
        settings["priority"] = int(root.attrib["priority"])
    for element in root:
        if element.tag in ("short", "description"):
            settings[element.tag] = element.text or ""
        elif element.tag in _FLAGS:
            settings[_FLAGS[element.tag]] = True
        else:
            for setting, value in _list_item(kind, element):
                lists.setdefault(setting, []).append(value)
    settings.update({setting: tuple(values) for setting, values in lists.items()})
    return settings


def _list_item(kind: Kind, element: ElementTree.Element) -> Iterator[tuple[str, str]]:
    if element.tag in _VALUES:
        setting, attribute = _VALUES[element.tag]
        yield setting, element.get(attribute, "")
    elif element.tag in _PORTS:
        parts = [element.get(key, "") for key in ("port", "protocol", "to-port", "to-addr")]
        yield _PORTS[element.tag], "/".join(part for part in parts if part)
    elif element.tag == "entry":
        yield "entries", element.text or ""
    elif element.tag == "option":
        yield "options", f"{element.get('name', '')}={element.get('value', '')}"
    elif element.tag == "source":
        # As D-Bus has it, an ipset's name behind a word that tells it from an address.
        ipset = f"ipset:{element.get('ipset')}" if "ipset" in element.attrib else ""
        yield "sources", ipset or element.get("address", "") or element.get("mac", "")
    elif element.tag == "rule":
        yield "rules_str" if kind is Kind.ZONE else "rich_rules", _rule_text(element)


def _attributes(each: FirewalldObject) -> dict[str, str]:
    if each.kind is Kind.IPSET:
        return {"type": str(each.settings["type"])}
    if each.kind is Kind.ZONE:
        return {}  # Ours has the default target, which has no name in a file.
    return {key: str(each.settings[key]) for key in ("priority", "target")}


def _rule_element(text: str) -> ElementTree.Element:
    rule = parse_rich_rule(text)
    element = ElementTree.Element("rule", {"family": f"ipv{rule.family}"})
    for key, value in (("ipset", rule.ipset), ("address", rule.address)):
        if value:
            ElementTree.SubElement(element, "source", {key: value})
    if rule.port is not None:
        attributes = {"port": str(rule.port), "protocol": rule.protocol.value}
        ElementTree.SubElement(element, "source-port" if rule.source_port else "port", attributes)
    ElementTree.SubElement(element, "accept")
    return element


def _rule_text(rule: ElementTree.Element) -> str:
    """The rule as firewalld writes it if it is of a form that we make, else its XML."""
    try:
        return str(_rich_rule(rule))
    except (TypeError, ValueError):
        return ElementTree.tostring(rule, encoding="unicode").strip()


def _rich_rule(rule: ElementTree.Element) -> RichRule:
    """Raises ``TypeError`` or ``ValueError`` for a rule with a part that none of ours has."""
    parts: dict[str, Any] = dict(rule.attrib)
    parts["family"] = {"ipv4": 4, "ipv6": 6}.get(parts.pop("family", ""))
    if parts["family"] is None:
        raise ValueError("of both families")
    elements = {element.tag: element for element in rule}
    accept = elements.pop("accept", None)
    if len(elements) + 1 != len(rule) or accept is None or len(accept):
        raise ValueError("not a plain acceptance")
    for tag, element in elements.items():
        attributes = dict(element.attrib)
        if tag == "source" and len(attributes) == 1:
            parts.update(attributes)
        elif tag in ("port", "source-port"):
            low, _dash, high = attributes.pop("port", "").partition("-")
            parts["port"] = PortRange(int(low), int(high or low))
            parts["protocol"] = Protocol(attributes.pop("protocol", ""))
            parts["source_port"] = tag == "source-port"
            parts.update(attributes)
        else:
            raise ValueError(f"{tag} is in no rule of ours")
    return RichRule(**parts)
