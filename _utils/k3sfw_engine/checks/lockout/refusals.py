"""The sentences that refuse an apply which would lock a peer out, or report it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.lockout.lockout_check import MGMT, rules_to_host
from k3sfw_engine.model.addresses import FAMILIES, entry
from k3sfw_engine.model.firewall_objects import FirewalldObject, Objects, set_name
from k3sfw_engine.model.live_connections import CriticalService, LiveConnection
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import NODE_SETS
from k3sfw_engine.model.rows import ROOT, Protocol, SourceKind, Tables
from k3sfw_engine.model.rule_matches_packet import Packet, rule_matches

ALLOW = f"{ROOT}:firewall:allow_lockout"
_GROUP = "k3s-group-"
Names = Mapping[netaddr.IPAddress, str]


@dataclass(frozen=True)
class Refusal:
    """What must not be done, and what mends it."""

    problem: str
    mend: str

    def __str__(self) -> str:
        allowed = f"set {ALLOW}: true for this one apply"
        return f"{self.problem}. Fix: {self.mend}, or {allowed}"

    @property
    def notice(self) -> str:
        """The sentence where somebody wants it done nevertheless."""
        return f"{self.problem}; {ALLOW} allows it"


# -- the sentences --------------------------------------------------------------------------------


def refusals(
    flows: Iterable[LiveConnection],
    now: Objects,
    wanted: Objects,
    tables: Tables,
    names: Names,
    zones: Mapping[LiveConnection, str],
) -> Iterator[Refusal]:
    """A sentence for everybody who would lose a port.

    names
        Of addresses that the tables do not know (any more).
    zones
        The zone, if it is known, by which a flow comes in.
    """
    for (port, service, peer), same in _alike(flows).items():
        who, known = _who(peer, tables, names)
        question = Packet(peer, Protocol.TCP, port)
        going = [
            (policy, rule)
            for policy, rule in rules_to_host(now)
            if rule_matches(rule, question, now)
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
    flows: Iterable[LiveConnection],
    tables: Tables,
    names: Names,
    zones: Mapping[LiveConnection, str],
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


_Whom = tuple[int, CriticalService, netaddr.IPNetwork]


def _alike(flows: Iterable[LiveConnection]) -> dict[_Whom, list[LiveConnection]]:
    """One for several connections of the same peer to the same port."""
    found: dict[_Whom, list[LiveConnection]] = {}
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
    return bool(rule.ipset) and any(rule == other for _policy, other in rules_to_host(wanted))


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


def _opening(port: int, service: CriticalService, who: str, zone: str, command: str) -> str:
    row = f"let a row of {ROOT}:ports open tcp/{port} to {who}"
    if service is not CriticalService.SSH or not zone:
        return row
    return f"{command} --zone={zone} --add-port={port}/tcp, or {row}"
