"""The verdict on zones that open a port to more sources than its rows allow. Pure.

Each element of a zone (a port, a service, a rich rule) is compared by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from k3sfw_engine.checks.report import join_some
from k3sfw_engine.checks.suggested_commands import LAYER_OPTIONS, adopt, firewall_cmd
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.checks.zone_of_interface import judge_open_zone, when
from k3sfw_engine.checks.zone_openings import Opening, everything, openings
from k3sfw_engine.checks.zones import messages
from k3sfw_engine.checks.zones.allowed_by_rows import Excess, left_over
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.port_ranges import EVERY_PORT
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.model.source_script import SCRIPT_NETWORKS, SCRIPT_PORTS

# What the source document's script opens in the default zone.
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
class _WideElement:
    """An element of a zone that opens ports to more sources than rows do, in one layer.

    sources
        The sources that can reach it; empty for everyone.
    opened
        Everything that it opens.
    """

    key: _Key
    layer: str
    sources: Networks
    opened: tuple[Opening, ...]
    wider: tuple[Excess, ...]


def judge_wide_zones(seen: ZoneFacts) -> Iterator[Check]:
    """The verdict on every zone but k3s, compared with the rows of the whole cluster."""
    if seen.at.tables.peer_rows is None:
        problem = messages.rows_of_other_role_unknown()
        yield seen.at.check(None, "zones", Status.UNPROVEN, problem)
    for zone in seen.zones:
        checks = [*_accepting(seen, zone), *_elements(seen, zone)]
        yield from checks or [_harmless(seen, zone)]


# -- zones that accept everything -----------------------------------------------------------------


def _accepting(seen: ZoneFacts, zone: str) -> Iterator[Check]:
    """The interfaces and sources of a zone that accepts everything."""
    entered: dict[str, list[str]] = {}
    for layer in LAYER_OPTIONS:
        if seen.accepts(zone, [layer]):
            for name in seen.outer_in(zone, layer):
                entered.setdefault(name, []).append(layer)
    for name, layers in entered.items():
        yield judge_open_zone(seen.at, seen.found, name, zone, layers)
    for name, source, bound_in in seen.bindings:
        if name != zone or not seen.accepts(zone, bound_in):
            continue
        networks = seen.networks_of(source)
        # A source that matches hosts of the cluster is judged with the sources.
        if seen.hosts_among(networks) or seen.pods_among(networks):
            continue
        bridge = seen.guests_behind(networks) if networks else ""
        if bridge:
            # podman binds the networks of its containers to a zone, and needs them there.
            problem = messages.guests_by_source(zone, source, bridge, bound_in)
            yield seen.at.check(None, "zones", Status.CONFLICT, problem)
        else:
            wider = [w for each in everything() for w in seen.allowed.wider(each, networks)]
            kept = seen.keeping_ssh(source, zone, bound_in)
            fix = messages.remove_source(seen.at.node.name, zone, source, bound_in, kept)
            rows = _rows(seen, wider)
            problem = messages.allowed_by_source(zone, source, bound_in, rows, fix)
            yield from _of_rows(seen, wider, problem)


# -- zones that open ports ------------------------------------------------------------------------


def _elements(seen: ZoneFacts, zone: str) -> Iterator[Check]:
    """The elements of a zone that open ports to more sources than the rows do."""
    wide = [each for layer in LAYER_OPTIONS for each in _wide(seen, zone, layer)]
    default = {layer.default for layer in seen.found.layers.values()}
    # What the source document's script left in the default zone has a fix of its own.
    left = [each for each in wide if zone in default and each.key in _SCRIPT]
    ssh = [each for each in wide if each not in left and _opens_ssh(seen, each)]
    more = [each for each in wide if each not in left and each not in ssh]
    if ssh:
        closing = seen.at.run_here(*_closing(zone, ssh))
        yield from _verdicts(seen, zone, ssh, messages.close_ssh(closing))
    if left:
        yield from _verdicts(seen, zone, left, adopt(seen.at.node.name))
    if more:
        yield from _verdicts(seen, zone, more, seen.at.run_here(*_closing(zone, more)))


def _opens_ssh(seen: ZoneFacts, wide: _WideElement) -> bool:
    """Whether closing it may end the operator's own access."""
    return any(
        excess.row.protocol in (Protocol.TCP, Protocol.ANY) and port in excess.ports
        for excess in wide.wider
        for port in seen.at.host.ssh_ports
    )


def _wide(seen: ZoneFacts, zone: str, layer: str) -> Iterator[_WideElement]:
    settings = seen.found.layers[layer].zones.get(zone)
    if settings is None or seen.accepts(zone, [layer]):
        return
    by_key: dict[_Key, list[Opening]] = {}
    for each in openings(settings, seen.found.services):
        by_key.setdefault((each.setting, each.value), []).append(each)
    for reach in _reach(seen, zone, layer):
        for key, opened in by_key.items():
            sources = _sources(seen, opened[0], reach)
            wider = [w for each in opened for w in seen.allowed.wider(each, sources)]
            if wider:
                yield _WideElement(key, layer, sources or (), tuple(opened), tuple(wider))


def _reach(seen: ZoneFacts, zone: str, layer: str) -> Iterator[Networks | None]:
    """The networks that reach the zone: all (``None``) by an interface, else its sources."""
    if seen.outer_in(zone, layer):
        yield None
        return
    for source in seen.found.layers[layer].zones[zone].items("sources"):
        networks = seen.networks_of(source)
        if networks:
            yield networks


def _sources(seen: ZoneFacts, opening: Opening, reach: Networks | None) -> Networks | None:
    """The networks that reach an element: those of its own source among those of the zone."""
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


def _verdicts(
    seen: ZoneFacts, zone: str, wide: Iterable[_WideElement], fix: str
) -> Iterator[Check]:
    """One sentence for all elements that open ports to the same sources, in the same layers."""
    elements: dict[tuple[_Key, Networks], list[_WideElement]] = {}
    for each in wide:
        elements.setdefault((each.key, each.sources), []).append(each)
    alike: dict[tuple[str, str], list[Excess]] = {}
    spoofed: dict[str, list[str]] = {}
    for (_key, sources), found in elements.items():
        moment = when(each.layer for each in found)
        if _are_pods(seen, found[0]):
            spoofed.setdefault(moment, []).extend(map(str, sources))
        else:
            named = join_some(sources) if sources else "everyone"
            families = [each.version for each in sources] or seen.allowed.families
            for excess in found[0].wider:
                to = f"{named}{_by_family(excess, set(families))}"
                alike.setdefault((to, moment), []).append(excess)
    via = _via(seen, zone)
    for (to, moment), wider in alike.items():
        problem = messages.opened_to_more(zone, via, to, moment, _rows(seen, wider), fix)
        yield from _of_rows(seen, wider, problem)
    for moment, networks in spoofed.items():
        problem = messages.opened_to_spoofed_pods(zone, via, join_some(networks), moment, fix)
        yield seen.at.check(None, "zones", Status.EXPOSED, problem)


def _are_pods(seen: ZoneFacts, wide: _WideElement) -> bool:
    """Whether it opens every port to addresses of pods or services."""
    cidrs = (*seen.at.tables.pod_cidrs, *seen.at.tables.service_cidrs)
    return (
        bool(wide.sources)
        and all(any(network in cidr for cidr in cidrs) for network in wide.sources)
        and all(each.ports == EVERY_PORT for each in wide.opened)
    )


def _of_rows(seen: ZoneFacts, wider: Iterable[Excess], problem: Problem) -> Iterator[Check]:
    for each in wider:
        yield Check(
            source=", ".join(map(str, each.row.sources)),
            to=seen.at.node.name,
            description=each.row.description or each.row.name,
            status=Status.EXPOSED,
            evidence=problem.text,
            protocol=each.row.protocol.value,
            port=str(each.ports) if each.row.ports else "",
            expect="closed",
            by=seen.at.node.name,
            fix=problem.fix,
        )


def _by_family(excess: Excess, families: set[int]) -> str:
    """The family that exceeds the row, if the other one does not; else nothing."""
    others = families.intersection(excess.opening.families) - set(excess.families)
    return f" by IPv{excess.families[0]}" if others else ""


def _rows(seen: ZoneFacts, wider: Iterable[Excess]) -> str:
    """The rows in the order of the tables, with a verb."""
    meant = {(each.row.table, each.row.name) for each in wider}
    names = dict.fromkeys(row.name for row in seen.allowed.rows if (row.table, row.name) in meant)
    return f"row {join_some(names)} allows" if len(names) == 1 else f"rows {join_some(names)} allow"


def _via(seen: ZoneFacts, zone: str) -> str:
    """The interfaces and sources of the zone, in brackets."""
    names = [name for layer in LAYER_OPTIONS for name in seen.outer_in(zone, layer)]
    names += [source for each, source, _layers in seen.bindings if each == zone]
    return f" ({join_some(dict.fromkeys(names))})" if names else ""


def _closing(zone: str, wide: Iterable[_WideElement]) -> Iterator[str]:
    """The commands that close these elements, then reopen what no row names."""
    by_layer: dict[str, dict[_Key, list[_WideElement]]] = {}
    for each in wide:
        by_layer.setdefault(each.layer, {}).setdefault(each.key, []).append(each)
    for layer, elements in by_layer.items():
        yield from _removing(layer, zone, elements)
        again = dict.fromkeys(left for each in elements.values() for left in _again(each))
        for setting in dict.fromkeys(setting for setting, _value in again):
            options = (f"--add-{setting}={value}" for name, value in again if name == setting)
            yield firewall_cmd(layer, zone, *options)


def _removing(layer: str, zone: str, elements: Mapping[_Key, object]) -> Iterator[str]:
    # firewall-cmd takes several options of one kind at once, but not of two kinds.
    settings: dict[str, list[str]] = {}
    for setting, value in elements:
        settings.setdefault(setting, []).append(f"--remove-{setting}={_quoted(value)}")
    for options in settings.values():
        yield firewall_cmd(layer, zone, *options)


def _quoted(value: str) -> str:
    if shlex.quote(value) == value or _NOT_IN_QUOTES.intersection(value):
        return shlex.quote(value)
    # The whole command is in single quotes, inside which double quotes are easier to read.
    return '"' + value.replace('"', '\\"') + '"'


# What a shell evaluates inside double quotes.
_NOT_IN_QUOTES = frozenset("$`\\!")


def _again(wide: Sequence[_WideElement]) -> Iterator[tuple[str, str]]:
    """What a range or a service opens to everyone and no row names."""
    first = wide[0]
    if first.key[0] in ("port", "service"):
        yield from left_over(first.opened, [each for one in wide for each in one.wider])


# -- zones that open nothing of the rows ----------------------------------------------------------


def _harmless(seen: ZoneFacts, zone: str) -> Check:
    """The verdict on a zone that opens no port of the rows: its ports are the operator's own."""
    ports = sorted(
        {
            str(opening)
            for layer in seen.found.layers.values()
            if zone in layer.zones
            for opening in openings(layer.zones[zone], seen.found.services)
        }
    )
    accepting = seen.accepts(zone, LAYER_OPTIONS)
    problem = messages.harmless(zone, _via(seen, zone), ports, accepting)
    return seen.at.check(None, "zones", Status.OK, problem)
