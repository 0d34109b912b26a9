"""Read destination NAT from what iptables-save prints. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from k3sfw_engine.host.nat_redirections import (
    ChainHop,
    PacketSet,
    follow,
    narrow,
    narrow_to_address_type,
    narrow_to_interfaces,
    narrow_to_source,
)
from k3sfw_engine.model.nat import (
    EXTERNAL_IP,
    HOST_PORT,
    NODE_PORT,
    SERVICE_LB,
    LocalAddresses,
    Redirection,
)


def read_iptables_nat(saved: str, family: int, here: LocalAddresses) -> frozenset[Redirection]:
    """Read what ``iptables-save -t nat`` or ``ip6tables-save -t nat`` printed."""
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("-A "):
            _append, chain, rule = (*line.split(" ", 2), "")[:3]
            chains.setdefault(chain, []).append(rule)
    own = frozenset(address for address in here.own if address.version == family)
    start = ChainHop("PREROUTING", PacketSet(to=own))
    return follow([start], lambda way: _steps_of_iptables(way, chains, here))


_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_REDIRECTING = ("DNAT", "REDIRECT", "NETMAP")
_OPTIONS = {
    "-d": "to",
    "-s": "source",
    "-p": "protocol",
    "--dport": "port",
    "--dports": "port",
    "--ports": "port",
    "-i": "interface",
    "--dst-type": "kind",
    "--src-type": "kind of source",
    "--comment": "comment",
    "-j": "target",
    "-g": "target",
}
_OF_SERVICES = {"loadbalancer IP": SERVICE_LB, "external IP": EXTERNAL_IP}


def _steps_of_iptables(
    way: ChainHop, chains: Mapping[str, list[str]], here: LocalAddresses
) -> Iterator[ChainHop]:
    for rule in chains.get(way.chain, ()):
        packets, target, comment = _rule_of_iptables(rule, way.packets, here)
        if packets.none or not target:
            continue
        by, service = way.by, way.service
        if not service and way.chain in ("KUBE-NODEPORTS", "KUBE-SERVICES"):
            service, _space, kind = comment.partition(" ")
            by = NODE_PORT if way.chain == "KUBE-NODEPORTS" else _OF_SERVICES.get(kind, by)
            # Without a kind it is the rule that leads to the NodePorts.
            service = service if by else ""
        elif way.chain == "CNI-HOSTPORT-DNAT":
            by = HOST_PORT
        if target in _REDIRECTING:
            yield ChainHop("", packets, by or f"chain {way.chain}", service)
        elif target in chains:
            yield ChainHop(target, packets, by, service)


def _rule_of_iptables(
    rule: str, packets: PacketSet, here: LocalAddresses
) -> tuple[PacketSet, str, str]:
    """The packets that match a rule, its target, and its comment."""
    words = iter(_WORDS.findall(rule))
    negated = False
    target = comment = ""
    for word in words:
        field = _OPTIONS.get(word)
        if field:
            value = next(words, "")
            if field == "target":
                target = value
            elif field == "comment":
                comment = value.strip('"')
            else:
                packets = _asked(packets, field, value, negated, here)
        negated = word == "!"
    return packets, target, comment


def _asked(
    packets: PacketSet, field: str, value: str, negated: bool, here: LocalAddresses
) -> PacketSet:
    if field == "source":
        return narrow_to_source(packets, [value], negated, here)
    if field == "interface":
        return narrow_to_interfaces(packets, [value], negated)
    if field.startswith("kind"):
        return narrow_to_address_type(packets, value, of_source=field != "kind", negated=negated)
    values = value.replace(":", "-").split(",") if field == "port" else [value]
    return narrow(packets, field, values, negated)
