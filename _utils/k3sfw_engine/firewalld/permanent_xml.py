"""firewalld's XML: read and write an ipset, a zone or a policy as its file has it.

It knows no folders and touches no file.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from functools import lru_cache

from k3sfw_engine.firewalld.defaults import FILES_KNOWN
from k3sfw_engine.model.firewall_objects import (
    PREFIX,
    RICH_RULES,
    FirewalldObject,
    Item,
    Key,
    Kind,
    Value,
    make_object,
)
from k3sfw_engine.model.rich_rules import RichRule, read_rule_element

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

# -- reading --------------------------------------------------------------------------------------


# An apply reads every file several times, and most are the same each time.
@lru_cache(maxsize=FILES_KNOWN)
def read_content(kind: Kind, name: str, content: bytes) -> tuple[FirewalldObject, tuple[Key, ...]]:
    """Read an object from the content of its file, and the names like ours to which it refers.

    Raises ``ParseError`` for what is not XML, and ``ValueError`` for what firewalld would not load.
    """
    root = ElementTree.fromstring(content)
    return read_object(kind, name, root), tuple(our_names_in(root))


def read_object(kind: Kind, name: str, root: ElementTree.Element) -> FirewalldObject:
    """Read an object from the root element of its file.

    Raises ``ValueError`` for a priority that is not a number.
    """
    settings: dict[str, Value] = {}
    lists: dict[str, list[Item]] = {}
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
            for setting, item in _list_item(kind, element):
                lists.setdefault(setting, []).append(item)
    settings.update({setting: tuple(items) for setting, items in lists.items()})
    return make_object(kind, name, settings)


def _list_item(kind: Kind, element: ElementTree.Element) -> Iterator[tuple[str, Item]]:
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
        # As D-Bus has it, a prefix tells the name of an ipset from an address.
        ipset = f"ipset:{element.get('ipset')}" if "ipset" in element.attrib else ""
        yield "sources", ipset or element.get("address", "") or element.get("mac", "")
    elif element.tag == "rule":
        yield RICH_RULES[kind], read_rule_element(element)


def our_names_in(root: ElementTree.Element) -> Iterator[Key]:
    """Return the ipsets and zones named like ours to which an object refers."""
    for element in root.iter():
        ipset = element.get("ipset", "")
        zone = element.get("name", "") if element.tag in ("ingress-zone", "egress-zone") else ""
        if ipset.startswith(PREFIX):
            yield Kind.IPSET, ipset
        if zone.startswith(PREFIX):
            yield Kind.ZONE, zone


# -- writing --------------------------------------------------------------------------------------


def write_object(each: FirewalldObject) -> bytes:
    """Return the file of one of our objects."""
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
    root.extend(_rule_element(rule) for rule in each.rules if isinstance(rule, RichRule))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _attributes(each: FirewalldObject) -> dict[str, str]:
    if each.kind is Kind.IPSET:
        return {"type": str(each.settings["type"])}
    if each.kind is Kind.ZONE:
        return {"target": str(each.settings["target"])}
    return {key: str(each.settings[key]) for key in ("priority", "target")}


def _rule_element(rule: RichRule) -> ElementTree.Element:
    (name, attributes), *parts = ((part.name, dict(part.attributes)) for part in rule.parts)
    element = ElementTree.Element(name, attributes)
    for name, attributes in parts:
        ElementTree.SubElement(element, name, attributes)
    return element
