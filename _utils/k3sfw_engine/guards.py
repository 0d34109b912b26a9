"""What an apply would close that must never be closed. Pure.

Our objects only ever let in, so an apply closes a flow by taking away all that lets it in. A first
start of firewalld closes whatever nothing lets in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, replace

import netaddr

from .addresses import FAMILIES, entry
from .desired import NODE_SETS, PODS_TO_HOST, ZONE, set_name
from .flows import Flow, Seen, Service
from .matching import EVERYONE, Question, is_about, rule_matches, sources_of
from .objects import FirewalldObject, Kind, Objects, RichRule, parse_rich_rule
from .rows import ROOT, Protocol, Role, SourceKind, Tables

MGMT = "mgmt"
ALLOW = f"{ROOT}:firewall:allow_lockout"
_GROUP = "k3s-group-"

# Fewer may well have left at once.
_MANY_NODES = 3

Names = Mapping[netaddr.IPAddress, str]


@dataclass(frozen=True)
class Refusal:
    """What must not be done, and what mends it."""

    problem: str
    mend: str

    def __str__(self) -> str:
        allowed = f"set {ALLOW}: true for this one apply"
        return f"{self.problem}. Mend: {self.mend}, or {allowed}"

    @property
    def notice(self) -> str:
        """The sentence where somebody wants it done nevertheless."""
        return f"{self.problem}; {ALLOW} allows it"


# -- what must stay open --------------------------------------------------------------------------


def must_stay_open(seen: Seen, tables: Tables) -> tuple[Flow, ...]:
    """The live flows, and the way of the operator's group mgmt to ssh.

    Pods call the API server, too. They come in by the zone of their interfaces, and are no member.
    """
    members = (
        flow
        for flow in seen.flows
        if flow.service not in (Service.ETCD, Service.API)
        or not any(flow.peer in network for network in tables.pod_cidrs)
    )
    management = (
        Flow(port, Service.SSH, network)
        for port in sorted(seen.ssh_ports)
        for network in tables.groups.get(MGMT, ())
    )
    return (*members, *management)


def taken_away(
    flows: Iterable[Flow], now: Objects, wanted: Objects, tables: Tables
) -> tuple[Flow, ...]:
    """The flows, or parts of them, that our objects let in now and would not any more."""
    return tuple(
        _parts(flows, lambda port, family: _let_in(now, port, family, tables), wanted, tables)
    )


def never_let_in(flows: Iterable[Flow], wanted: Objects, tables: Tables) -> tuple[Flow, ...]:
    """The flows, or parts of them, that our objects would not let in."""
    return tuple(_parts(flows, lambda _port, family: {EVERYONE[family]}, wanted, tables))


_Networks = AbstractSet[netaddr.IPNetwork]


def _parts(
    flows: Iterable[Flow],
    before: Callable[[int, int], _Networks],
    wanted: Objects,
    tables: Tables,
) -> Iterator[Flow]:
    """What of each flow is let in before and not afterwards."""
    lost: dict[tuple[int, int], netaddr.IPSet] = {}
    for flow in flows:
        at = (flow.port, flow.peer.version)
        if at not in lost:
            lost[at] = _difference(before(*at), _let_in(wanted, *at, tables))
        # A Salt master has a flow of each minion, and a large set to compare it with.
        if flow.peer.size == 1:
            if flow.peer.ip in lost[at]:
                yield flow
        else:
            for network in (netaddr.IPSet([flow.peer]) & lost[at]).iter_cidrs():
                yield replace(flow, peer=network)


def _difference(before: _Networks, after: _Networks) -> netaddr.IPSet:
    gone = before - after
    return netaddr.IPSet(gone) - netaddr.IPSet(after) if gone else netaddr.IPSet()


def _let_in(objects: Objects, port: int, family: int, tables: Tables) -> _Networks:
    """Everybody whom our objects let in at a TCP port of this host."""
    networks = {
        network
        for _policy, rule in _rules(objects)
        if rule.family == family and is_about(rule, Protocol.TCP, port)
        for network in sources_of(rule, objects)
    }
    if _pods_come_in(objects):
        networks.update(each for each in tables.pod_cidrs if each.version == family)
    return networks


def _rules(objects: Objects) -> Iterator[tuple[FirewalldObject, RichRule]]:
    """The rules about packets to this host, each with its policy."""
    for each in objects.values():
        if each.kind is Kind.POLICY and "HOST" in each.items("egress_zones"):
            for text in each.items("rich_rules"):
                try:
                    yield each, parse_rich_rule(text)
                except ValueError:
                    continue  # Somebody has put it there; what it does is not ours to keep.


def _pods_come_in(objects: Objects) -> bool:
    zone = objects.get((Kind.ZONE, ZONE))
    has_interfaces = zone is not None and bool(zone.items("interfaces"))
    return has_interfaces and (Kind.POLICY, PODS_TO_HOST) in objects


# -- the sentences --------------------------------------------------------------------------------


def refusals(
    flows: Iterable[Flow],
    now: Objects,
    wanted: Objects,
    tables: Tables,
    names: Names,
    zones: Mapping[Flow, str],
) -> Iterator[Refusal]:
    """A sentence for everybody who would lose a port.

    names
        Of addresses that the tables do not know (any more).
    zones
        The zone, if it is known, by which a flow comes in.
    """
    for (port, service, peer), same in _alike(flows).items():
        who, known = _who(peer, tables, names)
        question = Question(peer, Protocol.TCP, port)
        going = [
            (policy, rule) for policy, rule in _rules(now) if rule_matches(rule, question, now)
        ]
        live = same[0].local is not None
        what = f"which has a live {service.value} here" if live else f"of {ROOT}:groups:{MGMT}"
        causes = sorted({_cause(each, rule, wanted, who) for each, rule in going})
        cause = " and ".join(causes) or "the rules that let it in go"
        mends = list(dict.fromkeys(_mend(rule, wanted, who, known) for _policy, rule in going))
        yield Refusal(
            f"this would close tcp/{port} to {who}, {what}: {cause}; no row lets it in any more",
            " or ".join(each for each in mends if each)
            or _opening(port, service, who, zones.get(same[0], ""), "firewall-cmd --permanent"),
        )


def refusals_of_a_first_start(
    flows: Iterable[Flow], tables: Tables, names: Names, zones: Mapping[Flow, str]
) -> Iterator[Refusal]:
    """The same before firewalld starts for the first time, when all is open yet."""
    for (port, service, peer), same in _alike(flows).items():
        who, _known = _who(peer, tables, names)
        zone = zones.get(same[0], "")
        live = same[0].local is not None
        what = f"which has a live {service.value} here" if live else f"of {ROOT}:groups:{MGMT}"
        yield Refusal(
            f"the first start of firewalld would close tcp/{port} to {who}, {what}: neither a row "
            f"nor {f'zone {zone}' if zone else 'a zone'} lets it in",
            _opening(port, service, who, zone, "firewall-offline-cmd"),
        )


_Whom = tuple[int, Service, netaddr.IPNetwork]


def _alike(flows: Iterable[Flow]) -> dict[_Whom, list[Flow]]:
    """One for several connections of the same peer to the same port."""
    found: dict[_Whom, list[Flow]] = {}
    for flow in sorted(flows, key=lambda each: (each.port, each.service, each.peer)):
        found.setdefault((flow.port, flow.service, flow.peer), []).append(flow)
    return found


def _who(peer: netaddr.IPNetwork, tables: Tables, names: Names) -> tuple[str, str]:
    """The peer as a sentence names it, and its name alone if it has one."""
    for node in tables.nodes:
        if peer.size == 1 and peer.ip in node.addresses:
            return f"{peer.ip} ({node.name}, {node.role.value})", node.name
    name = names.get(peer.ip, "") if peer.size == 1 else ""
    return (f"{peer.ip} ({name})" if name else entry(peer)), name


def _cause(policy: FirewalldObject, rule: RichRule, wanted: Objects, who: str) -> str:
    if _stays(rule, wanted):
        return f"it leaves ipset {rule.ipset} (policy {policy.name}: {rule})"
    return f"this rule of policy {policy.name} goes: {rule}"


def _stays(rule: RichRule, wanted: Objects) -> bool:
    """Whether the rule itself stays, so that the peer is no longer whom it is for."""
    return bool(rule.ipset) and any(rule == other for _policy, other in _rules(wanted))


def _mend(rule: RichRule, wanted: Objects, who: str, known: str) -> str:
    """What keeps the peer in an ipset; nothing where the rule itself goes."""
    if not _stays(rule, wanted):
        return ""
    if rule.ipset.startswith(_GROUP):
        group = rule.ipset[len(_GROUP) :].rpartition("-")[0]
        return f"put {who} back into {ROOT}:groups:{group}"
    kind = next(
        (kind for kind in NODE_SETS for family in FAMILIES if _is_set(rule.ipset, kind, family)),
        SourceKind.ANY,
    )
    role = "" if kind is SourceKind.ANY else f" with the role {kind.value}"
    name = known or f"the node that has {who}"
    return f"put {name}{role} and this address back into {ROOT}:nodes"


def _is_set(ipset: str, kind: SourceKind, family: int) -> bool:
    return ipset == set_name(NODE_SETS[kind], family)


def _opening(port: int, service: Service, who: str, zone: str, command: str) -> str:
    row = f"let a row of {ROOT}:ports open tcp/{port} to {who}"
    if service is not Service.SSH or not zone:
        return row
    return f"{command} --zone={zone} --add-port={port}/tcp, or {row}"


# -- roles and members ----------------------------------------------------------------------------


def contradicted_role(seen: Seen, tables: Tables, role: Role) -> Iterator[Refusal]:
    """What runs here against what pillar says this node is; a K3s that is not there is no word."""
    flows = must_stay_open(replace(seen, ssh_ports=frozenset()), tables)
    servers = [each for each in flows if each.service in (Service.ETCD, Service.API)]
    if role is Role.AGENT and servers:
        peers = ", ".join(sorted({entry(each.peer) for each in servers}))
        what = " and ".join(sorted({_SERVES[each.service] for each in servers}))
        yield Refusal(
            f"the tables say that this node is an agent, and {what} with live connections from "
            f"{peers} runs on it",
            f"correct its role in {ROOT}:nodes or the grain k3s_role",
        )
    elif role is Role.SERVER and seen.k3s == {Role.AGENT}:
        yield Refusal(
            "the tables say that this node is a server, and k3s-agent runs on it",
            f"correct its role in {ROOT}:nodes or the grain k3s_role",
        )


_SERVES = {Service.ETCD: "etcd", Service.API: "an API server"}


def suspicion(tables: Tables, wanted: Objects, now: Objects) -> str:
    """Why a peer list that is suddenly much smaller is not believed; else an empty text.

    now
        Our objects that hold the members so far.
    """
    if tables.expected_nodes is not None and len(tables.nodes) >= tables.expected_nodes:
        return ""
    held, left = _node_addresses(now), _node_addresses(wanted)
    if 2 * len(left) >= len(held) or len(held - left) < _MANY_NODES:
        return ""
    return (
        f"{ROOT}:nodes has {len(left)} addresses, and {len(held)} are let in as nodes' now. If "
        f"so many have left, set {ROOT}:firewall:expected_nodes to the true number of nodes"
    )


def _node_addresses(objects: Objects) -> frozenset[str]:
    keys = [(Kind.IPSET, set_name(NODE_SETS[SourceKind.ANY], family)) for family in FAMILIES]
    return frozenset(
        text for key in keys if key in objects for text in objects[key].items("entries")
    )
