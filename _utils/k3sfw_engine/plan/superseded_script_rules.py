"""Which zone-wide ports and rich rules of the source's script the tables have made needless. Pure.

The script is the one in the document that the port tables are from: it opens every port of both
tables, and all from pods and services, to whoever comes in by the default zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.model.difference import Difference, Differences
from k3sfw_engine.model.firewall_objects import FirewalldObject, Item, Kind, in_order
from k3sfw_engine.model.port_ranges import ZonePort, parse_port
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import PortRange, Protocol, Role, Row, Source, SourceKind, Tables
from k3sfw_engine.model.source_script import SCRIPT_NETWORKS, SCRIPT_PORTS

# The settings of a zone that the script adds to, and what they are called to people.
PORTS, RULES = "ports", "rules_str"
_SHOWN = {PORTS: "ports", RULES: "rich_rules"}
_REMOVE = {PORTS: "--remove-port={}", RULES: "--remove-rich-rule='{}'"}


@dataclass(frozen=True)
class AdoptionContext:
    """What decides whether something of the script may go.

    guarded
        TCP ports that are never touched, and why.
    services
        The ports of the services that the zone has.
    """

    tables: Tables
    role: Role
    guarded: Mapping[int, str] = field(default_factory=dict)
    services: Mapping[str, tuple[ZonePort, ...]] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of both roles, as far as pillar tells them."""
        return (*self.tables.rows, *(self.tables.peer_rows or ()))


# Ports and rich rules, by setting.
Elements = Mapping[str, tuple[Item, ...]]


@dataclass(frozen=True)
class Adoptable:
    """What goes from each layer of a zone.

    notices
        Sentences about what of the script stays, and how to close it.
    access
        Sentences about who still reaches what was open to everybody.
    """

    zone: str
    going: Mapping[str, Elements]
    notices: tuple[str, ...]
    access: tuple[str, ...]

    @property
    def differences(self) -> Differences:
        """What is taken out of the zone."""
        return tuple(
            Difference(layer, (Kind.ZONE, self.zone), _SHOWN[setting], missing=(), extra=texts)
            for layer, elements in self.going.items()
            for setting, texts in elements.items()
        )


def find_adoptable(
    zone: str, layers: Mapping[str, FirewalldObject], grounds: AdoptionContext
) -> Adoptable:
    """Judge everything that the zone opens, in each of its layers.

    layers
        The zone as it is permanently and at runtime.
    """
    going: dict[str, Elements] = {}
    staying: dict[tuple[str, str, _KeepReason], list[str]] = {}
    for layer, each in layers.items():
        found: dict[str, tuple[Item, ...]] = {}
        for setting, item, stay in _judged(each, grounds):
            if stay is None:
                found[setting] = (*found.get(setting, ()), item)
            else:
                staying.setdefault((setting, str(item), stay), []).append(layer)
        going[layer] = found
    closing = _ports({str(it) for each in going.values() for it in each.get(PORTS, ())})
    rules = in_order(it for each in going.values() for it in each.get(RULES, ()))
    notices = [
        _sentence(zone, setting, text, stay, where)
        for (setting, text, stay), where in sorted(staying.items())
    ]
    notices += _open_by_services(zone, closing.values(), grounds)
    access = tuple(_access(closing.values(), rules, grounds))
    return Adoptable(zone, going, tuple(notices), access)


# -- what may go, and why the rest stays ----------------------------------------------------------


@dataclass(frozen=True, order=True)
class _KeepReason:
    """Why something of the script stays.

    mend
        What to do about it; before ``closing``, a condition.
    closing
        What is to be removed by hand, in the zone's own words.
    """

    reason: str
    mend: str
    closing: tuple[str, ...] = ()


_Judgement = tuple[str, Item, "_KeepReason | None"]


def _judged(zone: FirewalldObject, grounds: AdoptionContext) -> Iterator[_Judgement]:
    """All that is the script's in one layer of the zone; without a reason to stay, it goes."""
    ports = _ports(zone.items(PORTS))
    wider = {
        text: port
        for text, port in ports.items()
        if _scripts(port) and not any(port.lies_in(each) for each in SCRIPT_PORTS)
    }
    for text, port in ports.items():
        if text in wider:
            yield PORTS, text, _wider(port)
        elif _scripts(port):
            # firewalld would take a piece of the wider one with it.
            within = next((other for other in wider.values() if other.meets(port)), None)
            yield PORTS, text, _wider(within) if within else _port_stays(port, grounds)
    for rule in zone.rules:
        network = _plain_source(rule)
        if network is not None and network in _script_networks(grounds.tables):
            yield RULES, rule, _rule_stays(str(rule), network, grounds)


def _ports(texts: Iterable[str]) -> dict[str, ZonePort]:
    """The ports that can be read, in their order."""
    found = {}
    for text in texts:
        try:
            found[text] = parse_port(text)
        except ValueError:
            continue  # A protocol, or a name of a port, that the script does not use.
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def _scripts(port: ZonePort) -> tuple[ZonePort, ...]:
    return tuple(each for each in SCRIPT_PORTS if each.meets(port))


def _wider(port: ZonePort) -> _KeepReason:
    parts = tuple(map(str, _scripts(port)))
    return _KeepReason(
        f"{port} is more than the script's {', '.join(parts)}, so somebody else has a part in it",
        "if nobody needs that part",
        parts,
    )


def _port_stays(port: ZonePort, grounds: AdoptionContext) -> _KeepReason | None:
    if port.protocol is Protocol.TCP:
        for number, reason in sorted(grounds.guarded.items()):
            if number in port.ports:
                return _KeepReason(reason, "move what listens there, then adopt again")
    spans = [span for row in grounds.rows if row.protocol is port.protocol for span in row.ports]
    if _covered(port.ports, spans):
        return None
    reason = "no enabled row opens it" if not _touched(port.ports, spans) else "rows open a part"
    return _uncovered(reason, str(port), grounds)


def _covered(ports: PortRange, spans: Iterable[PortRange]) -> bool:
    reached = ports.low
    for span in sorted(spans):
        if reached in span:
            reached = span.high + 1
    return reached > ports.high


def _touched(ports: PortRange, spans: Iterable[PortRange]) -> bool:
    return any(span.low <= ports.high and ports.low <= span.high for span in spans)


def _uncovered(reason: str, text: str, grounds: AdoptionContext) -> _KeepReason:
    if grounds.tables.peer_rows is None:
        return _KeepReason(
            f"{reason} on this node, and what opens nodes of the other role was not in the pillar "
            "that the master compiled for this run (k3s:peer_ports)",
            "include k3s.ports in the pillar of this minion, with pillar_cache: False, then adopt "
            "again",
        )
    return _KeepReason(reason, "if nobody needs it", (text,))


def _plain_source(rule: Item) -> netaddr.IPNetwork | None:
    """The network from which a rule lets everything in; none if it is any other rule."""
    if not isinstance(rule, RichRule) or not rule.address or rule.port is not None:
        return None
    try:
        network = netaddr.IPNetwork(rule.address)
    except (ValueError, netaddr.AddrFormatError):
        return None
    return network.cidr if network.version == rule.family else None


def _script_networks(tables: Tables) -> tuple[netaddr.IPNetwork, ...]:
    return (*SCRIPT_NETWORKS, *tables.pod_cidrs, *tables.service_cidrs)


def _rule_stays(
    text: str, network: netaddr.IPNetwork, grounds: AdoptionContext
) -> _KeepReason | None:
    tables = grounds.tables
    rows = [row for row in grounds.rows if row.protocol is Protocol.ANY]
    sources = [source for row in rows for source in row.sources]
    if not any(network in each for source in sources for each in _networks(source, tables)):
        return _uncovered("no enabled row lets all from there in", text, grounds)
    return None


def _networks(source: Source, tables: Tables) -> tuple[netaddr.IPNetwork, ...]:
    """The networks that a source names; of nodes, none."""
    if source.kind is SourceKind.CIDR:
        return (netaddr.IPNetwork(source.value),)
    return {
        SourceKind.PODS: tables.pod_cidrs,
        SourceKind.SERVICES: tables.service_cidrs,
        SourceKind.GROUP: tables.groups.get(source.value, ()),
    }.get(source.kind, ())


# -- in sentences ---------------------------------------------------------------------------------


def _sentence(zone: str, setting: str, text: str, stay: _KeepReason, layers: Iterable[str]) -> str:
    mend = stay.mend
    if stay.closing:
        mend += f", {_typed(zone, layers, *(_REMOVE[setting].format(it) for it in stay.closing))}"
    return f"zone {zone}: {text} stays open to everybody: {stay.reason}. Fix: {mend}"


def _typed(zone: str, layers: Iterable[str], *options: str) -> str:
    flag = {"permanent": "--permanent "}
    return "; ".join(
        f"firewall-cmd {flag.get(layer, '')}--zone={zone} {' '.join(options)}" for layer in layers
    )


def _open_by_services(
    zone: str, ports: Iterable[ZonePort], grounds: AdoptionContext
) -> Iterator[str]:
    for port in ports:
        for service, opened in sorted(grounds.services.items()):
            if any(port.meets(each) for each in opened):
                typed = _typed(zone, ("permanent", "runtime"), f"--remove-service={service}")
                yield (
                    f"zone {zone}: {port} stays open to everybody: the service {service} of that "
                    f"zone opens it, and services are yours. Fix: if nobody needs it, {typed}"
                )


_WORDS = {SourceKind.ANY: "any node", SourceKind.SERVER: "servers", SourceKind.AGENT: "agents"}


def _access(
    ports: Iterable[ZonePort], rules: Iterable[Item], grounds: AdoptionContext
) -> Iterator[str]:
    """Who reaches on this node what is open to everybody no more."""
    rows = grounds.tables.rows_of(grounds.role)
    by_who: dict[str, list[str]] = {}
    for port in ports:
        sources = {
            source
            for row in rows
            if row.protocol is port.protocol and _touched(port.ports, row.ports)
            for source in row.sources
        }
        who = ", ".join(sorted(_WORDS.get(source.kind, str(source)) for source in sources))
        by_who.setdefault(who, []).append(str(port))
    nobody = by_who.pop("", [])
    for who, texts in sorted(by_who.items()):
        yield f"still open to {who}: {', '.join(texts)}"
    if nobody:
        yield f"no row opens on this node: {', '.join(nobody)}"
    networks = [str(_plain_source(rule)) for rule in rules]
    if networks:
        yield f"still let in as pods and services: {', '.join(networks)}"
