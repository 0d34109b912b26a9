"""Which ports and rich rules of the source document's script the tables have superseded. Pure.

The document from which the port tables come has an example script. It opens every port of both
tables in the default zone, to every source, and accepts everything from pods and services. The
command adopt removes what is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.difference import Difference, Differences
from k3sfw_engine.model.firewall_objects import FirewalldObject, Item, Kind, in_order
from k3sfw_engine.model.port_ranges import ZonePort, in_common, parse_port, without
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import networks_of_source
from k3sfw_engine.model.rows import Protocol, Role, Row, SourceKind, Tables
from k3sfw_engine.model.source_script import SCRIPT_NETWORKS, SCRIPT_PORTS
from k3sfw_engine.plan import messages
from k3sfw_engine.plan.steps import Elements

# The settings of a zone that the script adds to, and their names in results.
PORTS, RULES = "ports", "rules_str"
_SHOWN = {PORTS: "ports", RULES: "rich_rules"}
_REMOVE = {PORTS: "--remove-port={}", RULES: "--remove-rich-rule='{}'"}


@dataclass(frozen=True)
class AdoptionContext:
    """What decides whether a port or a rule of the script may be removed.

    guarded
        TCP ports that are never closed, each with the reason.
    services
        The ports that each service of the zone opens.
    """

    tables: Tables
    role: Role
    guarded: Mapping[int, str] = field(default_factory=dict)
    services: Mapping[str, tuple[ZonePort, ...]] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of both roles, as far as the pillar has them."""
        return (*self.tables.rows, *(self.tables.peer_rows or ()))


@dataclass(frozen=True)
class Adoptable:
    """What is to be removed from each layer of a zone.

    notices
        What remains of the script, and how to close it.
    access
        Which sources still reach what was open to every source.
    """

    zone: str
    going: Mapping[str, Elements]
    notices: tuple[str, ...]
    access: tuple[str, ...]

    @property
    def differences(self) -> Differences:
        """What is removed from the zone."""
        return tuple(
            Difference(layer, (Kind.ZONE, self.zone), _SHOWN[setting], missing=(), extra=texts)
            for layer, elements in self.going.items()
            for setting, texts in elements.items()
        )


def find_adoptable(
    zone: str, layers: Mapping[str, FirewalldObject], context: AdoptionContext
) -> Adoptable:
    """Judge every port and rule of the zone, in each of its layers.

    layers
        The zone as it is permanently and at runtime.
    """
    going: dict[str, Elements] = {}
    staying: dict[tuple[str, str, _KeepReason], list[str]] = {}
    for layer, each in layers.items():
        found: dict[str, tuple[Item, ...]] = {}
        for setting, item, kept in _judged(each, context):
            if kept is None:
                found[setting] = (*found.get(setting, ()), item)
            else:
                staying.setdefault((setting, str(item), kept), []).append(layer)
        going[layer] = found
    closing = _ports({str(it) for each in going.values() for it in each.get(PORTS, ())})
    rules = in_order(it for each in going.values() for it in each.get(RULES, ()))
    problems = [
        _notice(zone, setting, text, kept, where)
        for (setting, text, kept), where in sorted(staying.items())
    ]
    problems += _open_by_services(zone, closing.values(), context)
    access = tuple(_access(closing.values(), rules, context))
    return Adoptable(zone, going, tuple(map(str, problems)), access)


# -- what may be removed, and why the rest stays --------------------------------------------------


@dataclass(frozen=True, order=True)
class _KeepReason:
    """Why a port or a rule of the script stays.

    fix
        What to do about it; with ``closing``, the condition for it.
    closing
        What to remove by hand, as firewall-cmd names it.
    """

    reason: str
    fix: str
    closing: tuple[str, ...] = ()


_Judgement = tuple[str, Item, "_KeepReason | None"]


def _judged(zone: FirewalldObject, context: AdoptionContext) -> Iterator[_Judgement]:
    """Each part of the script in one layer of the zone, with the reason to keep it, or None."""
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
            # firewalld would remove a part of the wider one with it.
            within = next((other for other in wider.values() if other.meets(port)), None)
            yield PORTS, text, _wider(within) if within else _port_stays(port, context)
    for rule in zone.rules:
        network = _plain_source(rule)
        if network is not None and network in _script_networks(context.tables):
            yield RULES, rule, _rule_stays(str(rule), network, context)


def _ports(texts: Iterable[str]) -> dict[str, ZonePort]:
    """The ports that can be read, sorted."""
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
        f"{port} is wider than the script's {', '.join(parts)}, so the rest was opened on purpose",
        "if that part is not needed",
        parts,
    )


def _port_stays(port: ZonePort, context: AdoptionContext) -> _KeepReason | None:
    if port.protocol is Protocol.TCP:
        for number, reason in sorted(context.guarded.items()):
            if number in port.ports:
                return _KeepReason(reason, "move what listens there, then adopt again")
    spans = [span for row in context.rows if row.protocol is port.protocol for span in row.ports]
    if not without(port.ports, spans):
        return None
    opened = in_common([port.ports], spans)
    reason = "rows open only a part of it" if opened else "no enabled row opens it"
    return _uncovered(reason, str(port), context)


def _uncovered(reason: str, text: str, context: AdoptionContext) -> _KeepReason:
    if context.tables.peer_rows is None:
        return _KeepReason(
            f"{reason} on this node, and the rows for nodes of the other role were not in the "
            "pillar that the master compiled for this run (k3s:peer_ports)",
            "include k3s.ports in the pillar of this minion, with pillar_cache: False, then adopt "
            "again",
        )
    return _KeepReason(reason, "if it is not needed", (text,))


def _plain_source(rule: Item) -> netaddr.IPNetwork | None:
    """The network from which a rule accepts everything; none for any other rule."""
    if not isinstance(rule, RichRule) or not rule.address:
        return None
    if rule.protocol is not Protocol.ANY:
        return None
    try:
        network = netaddr.IPNetwork(rule.address)
    except (ValueError, netaddr.AddrFormatError):
        return None
    return network.cidr if network.version == rule.family else None


def _script_networks(tables: Tables) -> tuple[netaddr.IPNetwork, ...]:
    return (*SCRIPT_NETWORKS, *tables.pod_cidrs, *tables.service_cidrs)


def _rule_stays(
    text: str, network: netaddr.IPNetwork, context: AdoptionContext
) -> _KeepReason | None:
    tables = context.tables
    rows = [row for row in context.rows if row.protocol is Protocol.ANY]
    sources = [source for row in rows for source in row.sources]
    accepted = (each for source in sources for each in networks_of_source(source, tables))
    if not any(network in each for each in accepted):
        return _uncovered("no enabled row accepts everything from there", text, context)
    return None


# -- what is told ---------------------------------------------------------------------------------


def _notice(
    zone: str, setting: str, text: str, kept: _KeepReason, layers: Iterable[str]
) -> Problem:
    fix = kept.fix
    if kept.closing:
        options = (_REMOVE[setting].format(each) for each in kept.closing)
        fix += f", {messages.firewall_cmd(zone, layers, *options)}"
    return messages.stays_open(zone, text, kept.reason, fix)


def _open_by_services(
    zone: str, ports: Iterable[ZonePort], context: AdoptionContext
) -> Iterator[Problem]:
    for port in ports:
        for service, opened in sorted(context.services.items()):
            if any(port.meets(each) for each in opened):
                yield messages.open_by_service(zone, str(port), service)


_WORDS = {SourceKind.ANY: "any node", SourceKind.SERVER: "servers", SourceKind.AGENT: "agents"}


def _access(
    ports: Iterable[ZonePort], rules: Iterable[Item], context: AdoptionContext
) -> Iterator[str]:
    """Which sources still reach on this node what was open to every source."""
    rows = context.tables.rows_of(context.role)
    by_sources: dict[str, list[str]] = {}
    for port in ports:
        sources = {
            source
            for row in rows
            if row.protocol is port.protocol and in_common([port.ports], row.ports)
            for source in row.sources
        }
        words = ", ".join(sorted(_WORDS.get(source.kind, str(source)) for source in sources))
        by_sources.setdefault(words, []).append(str(port))
    closed = by_sources.pop("", [])
    for words, texts in sorted(by_sources.items()):
        yield f"still open to {words}: {', '.join(texts)}"
    if closed:
        yield f"no row opens on this node: {', '.join(closed)}"
    networks = [str(_plain_source(rule)) for rule in rules]
    if networks:
        yield f"still accepted as pods and services: {', '.join(networks)}"
