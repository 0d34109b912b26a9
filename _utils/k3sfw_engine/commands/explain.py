"""The command explain: which rows of this node allow a packet, and what else decides about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import netaddr

from k3sfw_engine.checks.walk.object_decision import Fate
from k3sfw_engine.checks.walk.packet_walk import PacketFacts, walk
from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.zones import read_others
from k3sfw_engine.host.iproute import read_network
from k3sfw_engine.host.nat import read_redirections
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.firewall_objects import PODS_TO_HOST, ROWS, ZONE, Kind
from k3sfw_engine.model.interfaces_and_routes import Lookup
from k3sfw_engine.model.nat import NatFacts, local_addresses
from k3sfw_engine.model.overlay import NOTHING_KNOWN, OverlayFacts
from k3sfw_engine.model.protocol_names import parse_protocol
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import Protocol, Role, Row, Tables
from k3sfw_engine.model.rule_matches_packet import Packet, rule_matches
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.kernel_drift import KernelRules
from k3sfw_engine.transaction.compare import compare

_UNKNOWN_SOURCE = "not a host known to the tables"
_NO_RULE = "no rule of k3sfw; the zone of the interface on which it arrives decides"


@dataclass(frozen=True)
class Explanation:
    """What the source is in the tables, the rows that allow the packet, and by which rules."""

    source: tuple[str, ...]
    accepted_by: tuple[str, ...]
    rows: tuple[Row, ...]
    rules: tuple[RichRule, ...] = ()
    by_interface: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for the operator."""
        return {
            "verdict": "open" if self.rows else "not in the tables",
            "source": list(self.source) or [_UNKNOWN_SOURCE],
            "rows": [f"{row.path}: {row.description}" for row in self.rows],
            "accepted_by": list(self.accepted_by) or [_NO_RULE],
        }


def parse_packet(source: object, port: object, protocol: object) -> Packet:
    """Read what an operator typed.

    Raises ``ValueError`` if it is not an address, a protocol, and a port where that has ports.
    """
    try:
        known = parse_protocol(protocol)
    except ValueError as error:
        raise ValueError(f"the protocol {error}") from error
    try:
        packet = Packet(
            netaddr.IPAddress(str(source), flags=netaddr.INET_PTON),
            known,
            None if port is None else int(str(port)),
        )
    except (netaddr.AddrFormatError, TypeError) as error:
        raise ValueError(str(error)) from error
    if packet.protocol.has_ports and packet.port not in range(1, 65536):
        raise ValueError("there is no such port")
    if packet.protocol.is_whole and port is not None:
        raise ValueError(f"{packet.protocol.value} has no ports")
    return packet


def explain_here(packet: Packet, tables: Tables, role: Role, node: str) -> dict[str, Any]:
    """Find the rows of this node that allow the packet, and follow it through this host.

    node
        This node's minion id.

    What cannot be read is told at its step of the walk.
    """
    overlay = read_overlay()
    found = explain(packet, tables, role, overlay)
    steps = walk(packet, _read_facts(packet, tables, role, node, overlay, found))
    decisive = steps.decisive
    return {
        **found.as_dict(),
        "decision": {
            "fate": decisive.fate.value if decisive else Fate.NOT_KNOWN.value,
            "at": decisive.stage.value if decisive else "",
            "why": decisive.text if decisive else "",
        },
        "walk": [
            {"at": step.stage.value, "fate": step.fate.value, "why": step.text}
            for step in steps.steps
        ],
    }


def _read_facts(
    packet: Packet,
    tables: Tables,
    role: Role,
    node: str,
    overlay: OverlayFacts,
    found: Explanation,
) -> PacketFacts:
    """Read what this host has for the packet; what cannot be read is a part of it."""
    facts = PacketFacts(rows=found.rows, rules=found.rules, by_interface=found.by_interface)
    try:
        network = read_network([str(packet.source)])
        lookup = network.lookups[str(packet.source)]
        facts = replace(facts, interface=_arrival(lookup), no_route=lookup.error)
        (own,) = (each for each in tables.nodes if each.name == node)
        here = local_addresses(own, tables, network)
        facts = replace(facts, own=here.own, redirected=read_redirections(here))
    except EngineError as error:
        unread = NatFacts(unread=error.problems)
        facts = replace(facts, redirected=unread, no_route="; ".join(error.sentences))
    try:
        with Bus() as bus:
            others, _permanent = read_others(bus, [facts.interface] if facts.interface else [])
        facts = replace(facts, others=others)
    except EngineError as error:
        facts = replace(facts, unread=error.sentences)
    try:
        _plan, observed = compare(tables, role, overlay)
    except EngineError as error:
        return replace(facts, unread_kernel=error.sentences)
    if observed.kernel is None:
        return replace(facts, unread_kernel=("firewalld does not use nftables here",))
    return replace(facts, kernel=_rules_in(observed.kernel))


def _arrival(lookup: Lookup) -> str:
    """The interface on which packets from there arrive: that of the way back."""
    return "lo" if lookup.kind == "local" else "" if lookup.error else lookup.device


def _rules_in(kernel: KernelRules) -> frozenset[RichRule]:
    return frozenset(
        fact.value
        for fact in kernel.facts
        if fact.name == ROWS and isinstance(fact.value, RichRule)
    )


def explain(
    packet: Packet, tables: Tables, role: Role, overlay: OverlayFacts = NOTHING_KNOWN
) -> Explanation:
    """Find the rows that allow the packet; without one its zone decides. Pure."""
    wanted = compute_desired(tables, role, overlay)
    matching = [
        each
        for each in wanted.rules
        if _is_for_port(each.row, packet) and rule_matches(each.rule, packet, wanted.objects)
    ]
    by_rule = [(each.row, f"policy {ROWS}: {each.rule}") for each in matching]
    by_interface = [
        (row, f"policy {PODS_TO_HOST}: {_by_interface(wanted)}")
        for row in wanted.rows
        if wanted.pods_by_interface and is_pod_row(row) and _is_from_pods(row, packet, tables)
    ]
    found = by_rule + by_interface
    return Explanation(
        source=tuple(_describe(packet.source, tables)),
        accepted_by=tuple(sorted({how for _row, how in found})),
        rows=tuple(dict.fromkeys(row for row, _how in found)),
        rules=tuple(dict.fromkeys(each.rule for each in matching)),
        by_interface=bool(by_interface),
    )


def _is_for_port(row: Row, packet: Packet) -> bool:
    if row.protocol is Protocol.ANY:
        return True
    if row.protocol is not packet.protocol:
        return False
    return not row.ports or any(
        packet.port is not None and packet.port in ports for ports in row.ports
    )


def _is_from_pods(row: Row, packet: Packet, tables: Tables) -> bool:
    return any(
        packet.source in network
        for source in row.sources
        for network in networks_of_source(source, tables)
    )


def _by_interface(wanted: Desired) -> str:
    interfaces = ", ".join(wanted.objects[Kind.ZONE, ZONE].items("interfaces"))
    return f"everything that arrives in zone {ZONE} ({interfaces}), on no other interface"


def _describe(source: netaddr.IPAddress | netaddr.IPNetwork, tables: Tables) -> Iterator[str]:
    for node in tables.nodes:
        if source in node.addresses:
            yield f"node {node.name} ({node.role.value})"
    named = (("pods", tables.pod_cidrs), ("services", tables.service_cidrs), *tables.groups.items())
    for name, networks in named:
        if any(source in network for network in networks):
            yield name if name in ("pods", "services") else f"group {name}"
