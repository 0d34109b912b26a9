"""Rich rules of anybody, as firewalld writes them or as they stand in its files. Pure.

Only the words and their attributes: what they mean is for those who ask. (``objects.RichRule`` is
the form that our own rules have.)
"""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from k3sfw_engine.model.rows import PortRange, Protocol

# ``source NOT address="192.0.2.0/24"``: a word, a word with a value.
_WORD = re.compile(r"""([A-Za-z-]+)(?:=(?:"([^"]*)"|'([^']*)'|([^\s"']+)))?""")
_NOT = "NOT"


@dataclass(frozen=True)
class Part:
    """One element of a rule: ``port port="22" protocol="tcp"``."""

    name: str
    attributes: Mapping[str, str]
    negated: bool = False


Parts = tuple[Part, ...]


def parse_rule(text: str) -> Parts:
    """Read a rule in firewalld's words, or in the XML of its files.

    Raises ``ValueError`` for XML that is none.
    """
    if text.lstrip().startswith("<"):
        try:
            return tuple(_parts_of_xml(ElementTree.fromstring(text)))
        except ElementTree.ParseError as error:
            raise ValueError(f"{text!r} is no rule") from error
    found: list[tuple[str, dict[str, str], bool]] = []
    for word, *values in _WORD.findall(text):
        value = next(filter(None, values), "")
        if found and word.upper() == _NOT:
            found[-1] = (*found[-1][:2], True)
        elif found and value:
            found[-1][1][word] = value
        else:
            found.append((word, {}, False))
    return tuple(Part(*each) for each in found)


def write_rule(parts: Parts) -> str:
    """The rule in firewalld's words, quoted only where it must be."""
    words = []
    for part in parts:
        words += [part.name, *([_NOT] if part.negated else [])]
        words += [f"{name}={_quoted(value)}" for name, value in part.attributes.items()]
    return " ".join(words)


def _quoted(value: str) -> str:
    return value if shlex.quote(value) == value else f'"{value}"'


# What firewalld writes into its files (burst since 2.3) and leaves out of its words.
_DEFAULTS = {("rule", "priority"): "0", ("limit", "burst"): "0"}


def _parts_of_xml(element: ElementTree.Element) -> Iterator[Part]:
    attributes = {
        name: value
        for name, value in element.attrib.items()
        if _DEFAULTS.get((element.tag, name)) != value
    }
    negated = attributes.pop("invert", "").lower() in ("true", "yes", "1")
    yield Part(element.tag, attributes, negated)
    for child in element:
        yield from _parts_of_xml(child)


@dataclass(frozen=True, order=True)
class RichRule:
    """An accepting rich rule made of typed parts; ``str`` gives firewalld's own way to write it.

    ``family`` is 4 or 6. ``ipset`` and ``address`` exclude each other; neither means everyone of
    the family. ``port`` is absent for protocol any, and a source port in place of a destination
    port if ``source_port`` is set.
    """

    family: int
    ipset: str = ""
    address: str = ""
    protocol: Protocol = Protocol.ANY
    port: PortRange | None = None
    source_port: bool = False

    def __str__(self) -> str:
        parts = [f'rule family="ipv{self.family}"']
        if self.ipset:
            parts.append(f'source ipset="{self.ipset}"')
        elif self.address:
            parts.append(f'source address="{self.address}"')
        if self.port is not None:
            element = "source-port" if self.source_port else "port"
            parts.append(f'{element} port="{self.port}" protocol="{self.protocol.value}"')
        parts.append("accept")
        return " ".join(parts)


_RICH_RULE = re.compile(
    r'rule family="ipv(?P<family>[46])"'
    r'(?: source (?P<by>ipset|address)="(?P<source>[^"]*)")?'
    r'(?: (?P<element>port|source-port) port="(?P<port>[0-9]+(?:-[0-9]+)?)"'
    r' protocol="(?P<protocol>[a-z]+)")?'
    r" accept\Z"
)


def parse_rich_rule(text: str) -> RichRule:
    """Read a rule that ``str`` wrote. Raises ``ValueError`` for any other."""
    match = _RICH_RULE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no rule of ours")
    low, _dash, high = (match["port"] or "").partition("-")
    return RichRule(
        family=int(match["family"]),
        ipset=match["source"] if match["by"] == "ipset" else "",
        address=match["source"] if match["by"] == "address" else "",
        protocol=Protocol(match["protocol"] or "any"),
        port=PortRange(int(low), int(high or low)) if low else None,
        source_port=match["element"] == "source-port",
    )


def is_rich_rule_of_ours(text: str) -> bool:
    """Whether the rule is of a form that we make."""
    return _RICH_RULE.match(text) is not None
