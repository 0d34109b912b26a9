"""Zones of others that let in more than the tables give, element by element. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from k3sfw_engine.checks import zone_of_interface
from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.report import some
from k3sfw_engine.checks.suggested_commands import OPTIONS
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.checks.zone_openings import Opening, everything, openings
from k3sfw_engine.checks.zones.allowed_by_rows import Excess, left_over
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts, when
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.port_ranges import EVERY_PORT
from k3sfw_engine.model.source_script import SCRIPT_NETWORKS, SCRIPT_PORTS

# What the script of the source document opens in the default zone.
_SCRIPT = frozenset(
    (
        *(("port", str(port)) for port in SCRIPT_PORTS),
        *(
            ("rich-rule", f"rule family=ipv4 source address={network} accept")
            for network in SCRIPT_NETWORKS
        ),
    )
)

# A zone's element in firewall-cmd's words: ``port`` and ``22/tcp``.
_Key = tuple[str, str]


@dataclass(frozen=True)
class _Wide:
    """An element of a zone that lets in more than rows do, in one layer.

    whom
        Those who meet it; empty for everybody.
    opened
        All that it opens.
    """

    key: _Key
    layer: str
    whom: Networks
    opened: tuple[Opening, ...]
    wider: tuple[Excess, ...]


def wider_than_rows(seen: ZoneFacts) -> Iterator[Check]:
    """What each zone of others lets in beyond the rows of the whole cluster."""
    if seen.at.tables.peer_rows is None:
        yield _half_known(seen.at)
    for zone in seen.zones:
        checks = [*_accepting(seen, zone), *_elements(seen, zone)]
        yield from checks or [_harmless(seen, zone)]


def _half_known(at: NodeFacts) -> Check:
    return at.check(
        None,
        "zones",
        Status.UNPROVEN,
        evidence="zones were compared with the rows of this node alone: what opens nodes of the "
        "other role was not in the pillar that the master compiled for this check "
        "(k3s:peer_ports)",
        hint="include k3s.ports in the pillar of this minion, with pillar_cache: False",
    )


# -- zones that let everything in -----------------------------------------------------------------


def _accepting(seen: ZoneFacts, zone: str) -> Iterator[Check]:
    """Interfaces and sources for which the zone's target is to let everything in."""
    entered: dict[str, list[str]] = {}
    for layer in OPTIONS:
        if seen.accepts(zone, [layer]):
            for name in seen.outer_in(zone, layer):
                entered.setdefault(name, []).append(layer)
    for name, layers in entered.items():
        if _is_inner_bridge(seen, name):
            yield seen.at.check(
                None,
                "zone",
                Status.CONFLICT,
                evidence=f"{name} is in zone {zone}{when(layers)}, which lets everything in: no "
                "row closes anything for whoever is behind that bridge",
                hint="nothing, if whoever is there may reach every port of this node",
            )
        else:
            yield zone_of_interface.everything_let_in(
                seen.at, name, zone, Status.EXPOSED, tuple(layers), when(layers)
            )
    for name, source, bound_in in seen.bindings:
        if name != zone or not seen.accepts(zone, bound_in):
            continue
        networks = seen.networks_of(source)
        # What it catches of the cluster is reported with the sources.
        if not seen.hosts_among(networks) and not seen.pods_among(networks):
            wider = [w for each in everything() for w in seen.given.wider(each, networks)]
            evidence = f"zone {zone} lets everything from {source} in{when(bound_in)}: "
            evidence += f"{_rows(seen, wider)} fewer"
            hint = seen.without_source(zone, source, bound_in)
            yield from _of_rows(seen, wider, evidence, hint)


def _is_inner_bridge(seen: ZoneFacts, name: str) -> bool:
    """Whether containers or virtual machines of this host are behind it, and no network."""
    link = seen.at.network.interfaces.get(name)
    return link is not None and link.kind == "bridge" and link not in seen.at.uplinks


# -- zones that open ports ------------------------------------------------------------------------


def _elements(seen: ZoneFacts, zone: str) -> Iterator[Check]:
    """The elements of a zone that open to more than the rows of their ports do."""
    wide = [each for layer in OPTIONS for each in _wide(seen, zone, layer)]
    default = {layer.default for layer in seen.found.layers.values()}
    # What the script of the documents left in the default zone has a mend of its own.
    left = [each for each in wide if zone in default and each.key in _SCRIPT]
    more = [each for each in wide if each not in left]
    if left:
        hint = f"salt {shlex.quote(seen.at.node.name)} k3sfw.adopt"
        yield from _in_sentences(seen, zone, left, hint)
    if more:
        yield from _in_sentences(seen, zone, more, seen.at.typed(*_closing(zone, more)))


def _wide(seen: ZoneFacts, zone: str, layer: str) -> Iterator[_Wide]:
    settings = seen.found.layers[layer].zones.get(zone)
    if settings is None or seen.accepts(zone, [layer]):
        return
    by_key: dict[_Key, list[Opening]] = {}
    for each in openings(settings, seen.found.services):
        by_key.setdefault((each.setting, each.value), []).append(each)
    for reach in _reach(seen, zone, layer):
        for key, opened in by_key.items():
            whom = _whom(seen, opened[0], reach)
            wider = [w for each in opened for w in seen.given.wider(each, whom)]
            if wider:
                yield _Wide(key, layer, whom or (), tuple(opened), tuple(wider))


def _reach(seen: ZoneFacts, zone: str, layer: str) -> Iterator[Networks | None]:
    """Who comes into the zone: everybody (``None``) by an interface, or those of its sources."""
    if seen.outer_in(zone, layer):
        yield None
        return
    for source in seen.found.layers[layer].zones[zone].items("sources"):
        networks = seen.networks_of(source)
        if networks:
            yield networks


def _whom(seen: ZoneFacts, opening: Opening, reach: Networks | None) -> Networks | None:
    """Who meets an element: those of its source among those who come in."""
    if not opening.source or opening.inverted:
        return reach
    networks = seen.networks_of(opening.source)
    if reach is None:
        return networks
    return tuple(
        inner
        for one in networks
        for other in reach
        for inner in ([one] if one in other else [other] if other in one else [])
    )


def _in_sentences(seen: ZoneFacts, zone: str, wide: Iterable[_Wide], hint: str) -> Iterator[Check]:
    """One sentence for all elements that let the same people in, in the same layers."""
    layers: dict[tuple[_Key, Networks], list[_Wide]] = {}
    for each in wide:
        layers.setdefault((each.key, each.whom), []).append(each)
    alike: dict[tuple[str, str, str], list[Excess]] = {}
    claimed: dict[str, list[str]] = {}
    for (_key, whom), found in layers.items():
        moment = when(each.layer for each in found)
        if _are_pods(seen, found[0]):
            claimed.setdefault(moment, []).extend(map(str, whom))
        else:
            named = some(whom) if whom else "everybody"
            for wide_row in found[0].wider:
                by = _by(wide_row, {each.version for each in whom} or set(seen.given.families))
                alike.setdefault((named, by, moment), []).append(wide_row)
    via = _via(seen, zone)
    for (named, by, moment), wider in alike.items():
        evidence = f"zone {zone}{via} lets {named} in there{by}{moment}: {_rows(seen, wider)} fewer"
        yield from _of_rows(seen, wider, evidence, hint)
    for moment, networks in claimed.items():
        evidence = f"zone {zone}{via} lets everything from {some(networks)} in{moment}, and so "
        evidence += f"whoever claims such an address; pods themselves come in by zone {ZONE}"
        yield seen.at.check(None, "zones", Status.EXPOSED, evidence=evidence, hint=hint)


def _are_pods(seen: ZoneFacts, wide: _Wide) -> bool:
    """Whether it lets pods or services in as such: their addresses, at every port."""
    cidrs = (*seen.at.tables.pod_cidrs, *seen.at.tables.service_cidrs)
    return (
        bool(wide.whom)
        and all(any(network in cidr for cidr in cidrs) for network in wide.whom)
        and all(each.ports == EVERY_PORT for each in wide.opened)
    )


def _of_rows(seen: ZoneFacts, wider: Iterable[Excess], evidence: str, hint: str) -> Iterator[Check]:
    for each in wider:
        yield Check(
            source=", ".join(map(str, each.row.sources)),
            to=seen.at.node.name,
            description=each.row.description or each.row.name,
            status=Status.EXPOSED,
            evidence=evidence,
            protocol=each.row.protocol.value,
            port=str(each.ports),
            expect="closed",
            by=seen.at.node.name,
            hint=hint,
        )


def _by(wider: Excess, families: set[int]) -> str:
    """The family, where those who come in by the other one are no more than the row's."""
    others = families.intersection(wider.opening.families) - set(wider.families)
    return f" by IPv{wider.families[0]}" if others else ""


def _rows(seen: ZoneFacts, wider: Iterable[Excess]) -> str:
    """The rows in the order of the tables, with a verb."""
    meant = {(each.row.table, each.row.name) for each in wider}
    names = dict.fromkeys(row.name for row in seen.given.rows if (row.table, row.name) in meant)
    return f"row {some(names)} lets in" if len(names) == 1 else f"rows {some(names)} let in"


def _via(seen: ZoneFacts, zone: str) -> str:
    """By what one comes into the zone, in brackets."""
    names = [name for layer in OPTIONS for name in seen.outer_in(zone, layer)]
    names += [source for each, source, _layers in seen.bindings if each == zone]
    return f" ({some(dict.fromkeys(names))})" if names else ""


def _closing(zone: str, wide: Iterable[_Wide]) -> Iterator[str]:
    """The commands that close these elements, and open again what no row is about."""
    by_layer: dict[str, dict[_Key, list[_Wide]]] = {}
    for each in wide:
        by_layer.setdefault(each.layer, {}).setdefault(each.key, []).append(each)
    for layer, elements in by_layer.items():
        command = f"firewall-cmd {OPTIONS[layer]}--zone={zone}"
        yield from _removing(command, elements)
        again = dict.fromkeys(port for each in elements.values() for port in _again(each))
        if again:
            yield " ".join([command, *(f"--add-port={port}" for port in again)])


def _removing(command: str, elements: Mapping[_Key, object]) -> Iterator[str]:
    # firewall-cmd takes several options of one kind at once, and not of two.
    settings: dict[str, list[str]] = {}
    for setting, value in elements:
        settings.setdefault(setting, []).append(f"--remove-{setting}={_quoted(value)}")
    for options in settings.values():
        yield " ".join([command, *options])


def _quoted(value: str) -> str:
    if shlex.quote(value) == value or _NOT_IN_QUOTES.intersection(value):
        return shlex.quote(value)
    # The whole command stands in single quotes, in which these are easier to read.
    return '"' + value.replace('"', '\\"') + '"'


# What a shell would evaluate in double quotes.
_NOT_IN_QUOTES = frozenset("$`\\!")


def _again(wide: Sequence[_Wide]) -> tuple[str, ...]:
    """The ports that a range or a service opens beside those of the rows, for everybody."""
    first = wide[0]
    if first.key[0] not in ("port", "service"):
        return ()
    return left_over(first.opened, [each for one in wide for each in one.wider])


# -- zones that do not ----------------------------------------------------------------------------


def _harmless(seen: ZoneFacts, zone: str) -> Check:
    """A zone that opens nothing of the tables': its ports are the operator's own."""
    ports = sorted(
        {
            str(opening)
            for layer in seen.found.layers.values()
            if zone in layer.zones
            for opening in openings(layer.zones[zone], seen.found.services)
        }
    )
    own = f"opens {some(ports)}: no row lets fewer in" if ports else "opens no port"
    if seen.accepts(zone, OPTIONS):
        own = "lets everything in, and nobody comes in by it but whom the other answers name"
    evidence = f"zone {zone}{_via(seen, zone)} {own}"
    return seen.at.check(None, "zones", Status.OK, evidence=evidence)
