"""Rich rules: one type for the rules that we create, one for all others, and their one reader.

A rule is text only at the edges: on D-Bus, in the record of a transaction and in messages. What a
part of a rule means is not known here. Pure.
"""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Union

from k3sfw_engine.model.port_ranges import parse_span
from k3sfw_engine.model.protocol_names import protocol_of_number
from k3sfw_engine.model.rows import WHOLE_PROTOCOLS, PortRange, Protocol


@dataclass(frozen=True)
class Part:
    """One element of a rule: ``port port="22" protocol="tcp"``."""

    name: str
    attributes: Mapping[str, str]
    negated: bool = False


Parts = tuple[Part, ...]


@dataclass(frozen=True)
class RichRule:
    """An accepting rule of the form that we create. ``str`` writes it exactly as firewalld does.

    family
        4 or 6.
    ipset, address
        The source. They exclude each other; neither means every source of the family.
    destination
        The network to which packets must go; empty for every one. Only with an ipset.
    protocol
        Written by its number if it has no ports: not every host has a file that knows the names.
    port
        The destination port, or the source port if ``source_port``; ``None`` without ports.
    """

    family: int
    ipset: str = ""
    address: str = ""
    protocol: Protocol = Protocol.ANY
    port: PortRange | None = None
    source_port: bool = False
    destination: str = ""

    def __str__(self) -> str:
        source = element = ""
        to = f' destination address="{self.destination}"' if self.destination else ""
        if self.ipset:
            source = f' source ipset="{self.ipset}"'
        elif self.address:
            source = f' source address="{self.address}"'
        if self.port is not None:
            name = "source-port" if self.source_port else "port"
            element = f' {name} port="{self.port}" protocol="{self.protocol.value}"'
        elif self.protocol.is_whole:
            element = f' protocol value="{self.protocol.number}"'
        return f'rule family="ipv{self.family}"{source}{to}{element} accept'

    @property
    def parts(self) -> Parts:
        """The elements of the rule."""
        parts = [Part("rule", {"family": f"ipv{self.family}"})]
        if self.ipset:
            parts.append(Part("source", {"ipset": self.ipset}))
        elif self.address:
            parts.append(Part("source", {"address": self.address}))
        if self.destination:
            parts.append(Part("destination", {"address": self.destination}))
        if self.port is not None:
            element = "source-port" if self.source_port else "port"
            port = {"port": str(self.port), "protocol": self.protocol.value}
            parts.append(Part(element, port))
        elif self.protocol.is_whole:
            parts.append(Part("protocol", {"value": str(self.protocol.number)}))
        return (*parts, Part("accept", {}))


@dataclass(frozen=True)
class UnparsedRule:
    """A rule of any other form; ``str`` is the text that was read, firewalld's words or XML."""

    text: str
    parts: Parts = field(compare=False)

    def __str__(self) -> str:
        return self.text


Rule = Union[RichRule, UnparsedRule]

# -- reading --------------------------------------------------------------------------------------

_WHOLE = frozenset(str(number) for number in WHOLE_PROTOCOLS)

# Exactly what ``str`` writes. A node has hundreds of rules, read several times in one apply.
_OUR_WORDS = re.compile(
    r'rule family="ipv(?P<family>[46])"'
    r'(?: source (?:address="(?P<address>[^"]+)"|ipset="(?P<ipset>[^"]+)"'
    r'(?: destination address="(?P<destination>[^"]+)")?))?'
    r'(?: (?P<element>port|source-port) port="(?P<port>[1-9][0-9]*(?:-[1-9][0-9]*)?)"'
    r' protocol="(?P<protocol>tcp|udp|sctp)"'
    rf'| protocol value="(?P<number>{"|".join(_WHOLE)})")? accept'
)

# ``source NOT address="192.0.2.0/24"``: a word, a word with a value.
_WORD = re.compile(r"""([A-Za-z-]+)(?:=(?:"([^"]*)"|'([^']*)'|([^\s"']+)))?""")
_NOT = "NOT"


def read_rule(text: str) -> Rule:
    """Read a rule in firewalld's words, or in the XML of its files.

    Raises ``ValueError`` for XML that cannot be parsed.
    """
    if text.lstrip().startswith("<"):
        try:
            return read_rule_element(ElementTree.fromstring(text))
        except ElementTree.ParseError as error:
            raise ValueError(f"{text!r} cannot be parsed") from error
    if match := _OUR_WORDS.fullmatch(text):
        return RichRule(
            family=int(match["family"]),
            ipset=match["ipset"] or "",
            address=match["address"] or "",
            protocol=_protocol(match["protocol"] or "", match["number"] or ""),
            port=parse_span(match["port"]) if match["port"] else None,
            source_port=match["element"] == "source-port",
            destination=match["destination"] or "",
        )
    return UnparsedRule(text, tuple(_parts_of_words(text)))


def _protocol(with_ports: str, number: str) -> Protocol:
    return protocol_of_number(int(number)) if number else Protocol(with_ports or "any")


def read_rule_element(element: ElementTree.Element) -> Rule:
    """Read a ``rule`` element of a firewalld file."""
    parts = tuple(_parts_of_element(element))
    if rule := _as_rich_rule(parts):
        return rule
    return UnparsedRule(ElementTree.tostring(element, encoding="unicode").strip(), parts)


def _parts_of_words(text: str) -> Iterator[Part]:
    found: list[tuple[str, dict[str, str], bool]] = []
    for word, *values in _WORD.findall(text):
        value = next(filter(None, values), "")
        if found and word.upper() == _NOT:
            found[-1] = (*found[-1][:2], True)
        elif found and value:
            found[-1][1][word] = value
        else:
            found.append((word, {}, False))
    return (Part(*each) for each in found)


# What firewalld writes into its files (burst since 2.3) and leaves out of its words.
_DEFAULTS = {("rule", "priority"): "0", ("limit", "burst"): "0"}


def _parts_of_element(element: ElementTree.Element) -> Iterator[Part]:
    attributes = {
        name: value
        for name, value in element.attrib.items()
        if _DEFAULTS.get((element.tag, name)) != value
    }
    negated = attributes.pop("invert", "").lower() in ("true", "yes", "1")
    yield Part(element.tag, attributes, negated)
    for child in element:
        yield from _parts_of_element(child)


_FAMILIES = {"ipv4": 4, "ipv6": 6}
_PORT_ELEMENTS = ("port", "source-port")


def _as_rich_rule(parts: Parts) -> RichRule | None:
    """The rule of these parts, or None if it does not have the form that we create."""
    by_name = {part.name: part.attributes for part in parts}
    if len(by_name) != len(parts) or any(part.negated for part in parts):
        return None
    rule, source = by_name.pop("rule", {}), by_name.pop("source", {})
    to = by_name.pop("destination", {}) if "ipset" in source else {}
    ports = [name for name in _PORT_ELEMENTS if name in by_name]
    port = by_name.pop(ports[0]) if ports else {}
    whole = by_name.pop("protocol", {}) if not ports else {}
    if by_name != {"accept": {}} or set(rule) != {"family"} or rule["family"] not in _FAMILIES:
        return None
    if len(source) > 1 or not set(source) <= {"ipset", "address"} or "" in source.values():
        return None
    if not set(to) <= {"address"} or (ports and set(port) != {"port", "protocol"}):
        return None
    if whole and (set(whole) != {"value"} or whole["value"] not in _WHOLE):
        return None
    try:
        return RichRule(
            family=_FAMILIES[rule["family"]],
            ipset=source.get("ipset", ""),
            address=source.get("address", ""),
            protocol=_protocol(port.get("protocol", ""), whole.get("value", "")),
            port=parse_span(port["port"]) if ports else None,
            source_port=ports == ["source-port"],
            destination=to.get("address", ""),
        )
    except ValueError:
        return None  # A protocol or a port that no row can have.


# -- writing --------------------------------------------------------------------------------------


def write_rule(parts: Parts) -> str:
    """Write the rule in firewalld's words, quoted only where it must be."""
    words = []
    for part in parts:
        words += [part.name, *([_NOT] if part.negated else [])]
        words += [f"{name}={_quoted(value)}" for name, value in part.attributes.items()]
    return " ".join(words)


def _quoted(value: str) -> str:
    return value if shlex.quote(value) == value else f'"{value}"'
