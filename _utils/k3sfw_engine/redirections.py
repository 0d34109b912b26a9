"""Which ports of this node are redirected in prerouting, before any rule of INPUT. Pure.

kube-proxy (NodePort, the addresses of LoadBalancer services) and the portmap plugin (hostPort, and
so ServiceLB) do that with DNAT, in the table nat of iptables or in tables of their own. The ways
from the hook to a DNAT are followed, with what each rule on the way asks of a packet; what only
concerns loopback, pods, services or other nodes ends at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import netaddr

from .port_spans import EVERY_PORT, in_common, parse_span, without
from .rows import PortRange, Protocol
from .situation import is_kubernetes

NODE_PORT = "NodePort"
SERVICE_LB = "ServiceLB"
EXTERNAL_IP = "externalIP"
HOST_PORT = "hostPort"


@dataclass(frozen=True, order=True)
class Redirection:
    """Ports of this node in one family that are redirected.

    by
        What asked for it, in the words of Kubernetes.
    service
        ``namespace/name:port`` of the service, where the rules tell it.
    source
        The only network whose packets are redirected; empty for everyone's.
    """

    protocol: Protocol
    ports: PortRange
    family: int
    by: str
    service: str = ""
    source: str = ""

    def __str__(self) -> str:
        of = f" of {self.service}" if self.service else ""
        return f"{self.by}{of}"


@dataclass(frozen=True)
class Here:
    """The addresses at which other hosts reach this node, and the networks of its pods."""

    own: frozenset[netaddr.IPAddress]
    pods: tuple[netaddr.IPNetwork, ...] = ()


def read_iptables(saved: str, family: int, here: Here) -> frozenset[Redirection]:
    """Read what ``iptables-save -t nat`` or ``ip6tables-save -t nat`` printed."""
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("-A "):
            _append, chain, rule = (*line.split(" ", 2), "")[:3]
            chains.setdefault(chain, []).append(rule)
    own = frozenset(address for address in here.own if address.version == family)
    start = _Way("PREROUTING", _Packets(to=own))
    return _followed([start], lambda way: _steps_of_iptables(way, chains, here))


def read_nft(listing: str | bytes, here: Here) -> frozenset[Redirection]:
    """Read what ``nft -j list table`` printed of one table that is not made by iptables."""
    table = _Table.of(json.loads(listing)["nftables"])
    start = [
        _Way(name, _Packets(to=frozenset(a for a in here.own if a.version in table.families)))
        for name in table.entrances
    ]
    return _followed(start, lambda way: _steps_of_nft(way, table, here))


# -- the ways of packets through chains -----------------------------------------------------------


@dataclass(frozen=True)
class _Packets:
    """What a packet must be like to get here; ``to`` are those of the own addresses."""

    to: frozenset[netaddr.IPAddress]
    protocols: frozenset[Protocol] = frozenset({Protocol.TCP, Protocol.UDP, Protocol.SCTP})
    ports: tuple[PortRange, ...] = (EVERY_PORT,)
    source: str = ""

    @property
    def none(self) -> bool:
        return not (self.to and self.protocols and self.ports)


@dataclass(frozen=True)
class _Way:
    """A chain that packets get into; an empty one is the redirection itself."""

    chain: str
    packets: _Packets
    by: str = ""
    service: str = ""


_Steps = Callable[[_Way], Iterator[_Way]]


def _followed(start: Iterable[_Way], steps: _Steps) -> frozenset[Redirection]:
    found: set[Redirection] = set()
    seen: set[_Way] = set()
    ahead = list(start)
    while ahead:
        way = ahead.pop()
        if way in seen or way.packets.none:
            continue
        seen.add(way)
        if way.chain:
            ahead += steps(way)
        else:
            found.update(_redirections(way))
    return frozenset(found)


def _redirections(way: _Way) -> Iterator[Redirection]:
    for protocol in way.packets.protocols:
        for ports in way.packets.ports:
            for family in {address.version for address in way.packets.to}:
                yield Redirection(protocol, ports, family, way.by, way.service, way.packets.source)


def _narrowed(packets: _Packets, field: str, values: list[str], negated: bool) -> _Packets:
    """The packets that also have one of these values there, or none of them."""
    if field == "to":
        networks = _networks(values)
        to = {a for a in packets.to if any(a in each for each in networks) is not negated}
        return replace(packets, to=frozenset(to))
    if field == "protocol":
        named = {_PROTOCOLS[value] for value in values if value in _PROTOCOLS}
        kept = packets.protocols - named if negated else packets.protocols & named
        return replace(packets, protocols=kept)
    if field == "port":
        spans = [parse_span(value) for value in values]
        spans = list(without(EVERY_PORT, spans)) if negated else spans
        return replace(packets, ports=in_common(packets.ports, spans))
    return packets


_PROTOCOLS: Mapping[str, Protocol] = {
    "tcp": Protocol.TCP,
    "6": Protocol.TCP,
    "udp": Protocol.UDP,
    "17": Protocol.UDP,
    "sctp": Protocol.SCTP,
    "132": Protocol.SCTP,
}
_NOBODY = _Packets(to=frozenset())


def _networks(values: Iterable[str]) -> list[netaddr.IPNetwork]:
    found = []
    for value in values:
        first, dash, last = value.partition("-")
        try:
            found += netaddr.iprange_to_cidrs(first, last) if dash else [netaddr.IPNetwork(value)]
        except (netaddr.AddrFormatError, ValueError):
            continue  # Not an address: the name of something else.
    return found


def _from(packets: _Packets, values: list[str], negated: bool, here: Here) -> _Packets:
    """Only packets of other hosts count; a rule for one network of them is one for it alone."""
    networks = _networks(values)
    if negated or not networks or any(network.prefixlen == 0 for network in networks):
        return packets
    inside = (*here.pods, netaddr.IPNetwork("127.0.0.0/8"), netaddr.IPNetwork("::1/128"))
    outside = [
        network
        for network in networks
        if not any(network in each for each in inside)
        and not (network.size == 1 and network.ip in here.own)
    ]
    if not outside:
        return _NOBODY
    return replace(packets, source=",".join(str(network) for network in outside))


def _by_interface(packets: _Packets, names: Iterable[str], negated: bool) -> _Packets:
    inside = all(name.rstrip("+*") == "lo" or is_kubernetes(name) for name in names)
    return _NOBODY if inside and not negated else packets


def _by_kind(packets: _Packets, kind: str, *, of_source: bool, negated: bool) -> _Packets:
    """What a rule asks of the kind of an address (``local`` and others)."""
    local = kind.lower() == "local"
    if of_source:
        return _NOBODY if local and not negated else packets
    # The addresses in question are all local ones.
    return packets if local is not negated else _NOBODY


# -- iptables -------------------------------------------------------------------------------------

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


def _steps_of_iptables(way: _Way, chains: Mapping[str, list[str]], here: Here) -> Iterator[_Way]:
    for rule in chains.get(way.chain, ()):
        packets, target, comment = _rule_of_iptables(rule, way.packets, here)
        if packets.none or not target:
            continue
        by, service = way.by, way.service
        if not service and way.chain in ("KUBE-NODEPORTS", "KUBE-SERVICES"):
            service, _space, kind = comment.partition(" ")
            by = NODE_PORT if way.chain == "KUBE-NODEPORTS" else _OF_SERVICES.get(kind, by)
            # The rule that leads on to the NodePorts.
            service = service if by else ""
        elif way.chain == "CNI-HOSTPORT-DNAT":
            by = HOST_PORT
        if target in _REDIRECTING:
            yield _Way("", packets, by or f"chain {way.chain}", service)
        elif target in chains:
            yield _Way(target, packets, by, service)


def _rule_of_iptables(rule: str, packets: _Packets, here: Here) -> tuple[_Packets, str, str]:
    """The packets that the rule catches, where it sends them, and its comment."""
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


def _asked(packets: _Packets, field: str, value: str, negated: bool, here: Here) -> _Packets:
    if field == "source":
        return _from(packets, [value], negated, here)
    if field == "interface":
        return _by_interface(packets, [value], negated)
    if field.startswith("kind"):
        return _by_kind(packets, value, of_source=field != "kind", negated=negated)
    values = value.replace(":", "-").split(",") if field == "port" else [value]
    return _narrowed(packets, field, values, negated)


# -- nft ------------------------------------------------------------------------------------------

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_MAPS = {"service-nodeports": NODE_PORT, "service-ips": SERVICE_LB}
_TABLES = {"cni_hostport": HOST_PORT}
# kube-proxy's name for the chain of a service: external-HASH-NAMESPACE/NAME/PROTOCOL/PORT
_SERVICE = re.compile(r"(?:external|service)-[A-Z0-9]{8}-([^/]+/[^/]+)/[a-z]+/([^/]*)\Z")


@dataclass(frozen=True)
class _Table:
    """One table: its rules by chain, and the elements of its sets and maps by name."""

    name: str
    families: tuple[int, ...]
    entrances: tuple[str, ...]
    rules: Mapping[str, list[list[Mapping[str, Any]]]]
    elements: Mapping[str, list[Any]]

    @classmethod
    def of(cls, items: Iterable[Mapping[str, Any]]) -> _Table:
        name = ""
        families: tuple[int, ...] = ()
        entrances = []
        rules: dict[str, list[list[Mapping[str, Any]]]] = {}
        elements: dict[str, list[Any]] = {}
        for item in items:
            for kind, each in item.items():
                if kind == "table":
                    name, families = each["name"], _FAMILIES.get(each["family"], ())
                elif kind == "chain" and (each.get("type"), each.get("hook")) == _ENTRANCE:
                    entrances.append(each["name"])
                elif kind == "rule":
                    rules.setdefault(each["chain"], []).append(each["expr"])
                elif kind in ("set", "map"):
                    elements[each["name"]] = each.get("elem", [])
        return cls(name, families, tuple(entrances), rules, elements)

    def values(self, right: Any) -> list[str]:
        """The right side of a match as texts: a value, a range, a network, or all of a set."""
        if isinstance(right, list):
            return [text for each in right for text in self.values(each)]
        if isinstance(right, dict):
            if "set" in right:
                return self.values(right["set"])
            if "elem" in right:
                return self.values(right["elem"]["val"])
            if "prefix" in right:
                return [f"{right['prefix']['addr']}/{right['prefix']['len']}"]
            if "range" in right:
                return ["-".join(map(str, right["range"]))]
            return []
        if isinstance(right, str) and right.startswith("@"):
            return self.values(self.elements.get(right[1:], []))
        return [str(right)]


_ENTRANCE = ("nat", "prerouting")


def _steps_of_nft(way: _Way, table: _Table, here: Here) -> Iterator[_Way]:
    for expressions in table.rules.get(way.chain, ()):
        packets = way.packets
        for expression in expressions:
            ((kind, body),) = expression.items()
            if kind == "match":
                packets = _matched(packets, body, table, here)
            elif kind in ("jump", "goto"):
                yield _into(way, packets, body["target"])
            elif kind == "vmap":
                yield from _mapped(way, packets, body, table, here)
            elif kind in ("dnat", "redirect"):
                by = way.by or _TABLES.get(table.name, f"table {table.name}")
                yield _Way("", packets, by, way.service)


def _into(way: _Way, packets: _Packets, chain: str, by: str = "") -> _Way:
    service = _SERVICE.match(chain)
    if service is None or way.service:
        return _Way(chain, packets, way.by or by, way.service)
    name, port = service.groups()
    return _Way(chain, packets, way.by or by, f"{name}:{port}" if port else name)


def _matched(packets: _Packets, match: Mapping[str, Any], table: _Table, here: Here) -> _Packets:
    if match["op"] not in ("==", "!=", "in"):
        return packets
    values = table.values(match["right"])
    return _having(packets, match["left"], values, match["op"] == "!=", here)


def _mapped(
    way: _Way, packets: _Packets, vmap: Mapping[str, Any], table: _Table, here: Here
) -> Iterator[_Way]:
    """A way for each element of a verdict map that leads to a chain."""
    data = vmap["data"]
    name = data[1:] if isinstance(data, str) else ""
    keys = vmap["key"].get("concat", [vmap["key"]])
    for element, verdict in table.elements.get(name, []) if name else data["set"]:
        target = (verdict.get("goto") or verdict.get("jump") or {}).get("target", "")
        if not target:
            continue
        element = element["elem"]["val"] if "elem" in _dict(element) else element
        found = packets
        for left, value in zip(keys, _dict(element).get("concat", [element])):
            found = _having(found, left, table.values(value), False, here)
        yield _into(way, found, target, _MAPS.get(name, ""))


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _having(packets: _Packets, left: Any, values: list[str], negated: bool, here: Here) -> _Packets:
    """The packets whose ``left`` is one of these values."""
    left = _dict(left)
    payload, fib = left.get("payload", {}), left.get("fib", {})
    field, protocol = payload.get("field"), payload.get("protocol")
    if field == "daddr":
        return _narrowed(packets, "to", values, negated)
    if field == "saddr":
        return _from(packets, values, negated, here)
    if field == "dport":
        if protocol in _PROTOCOLS:
            packets = _narrowed(packets, "protocol", [protocol], negated=False)
        return _narrowed(packets, "port", values, negated)
    if field in ("protocol", "nexthdr") or left.get("meta", {}).get("key") == "l4proto":
        return _narrowed(packets, "protocol", values, negated)
    if left.get("meta", {}).get("key") in ("iif", "iifname"):
        return _by_interface(packets, values, negated)
    if fib.get("result") == "type":
        of_source = "saddr" in fib.get("flags", ())
        return _by_kind(packets, "".join(values), of_source=of_source, negated=negated)
    return packets
