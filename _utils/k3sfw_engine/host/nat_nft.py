"""Read destination NAT from what nft prints as JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.host.nat_redirections import (
    PROTOCOLS,
    ChainHop,
    PacketSet,
    follow,
    narrow,
    narrow_to_address_type,
    narrow_to_interfaces,
    narrow_to_source,
)
from k3sfw_engine.model.nat import HOST_PORT, NODE_PORT, SERVICE_LB, LocalAddresses, Redirection


def read_nft_nat(listing: str | bytes, here: LocalAddresses) -> frozenset[Redirection]:
    """Read what ``nft -j list table`` printed for a table that iptables did not make."""
    table = _NatTable.of(json.loads(listing)["nftables"])
    start = [
        ChainHop(name, PacketSet(to=frozenset(a for a in here.own if a.version in table.families)))
        for name in table.entrances
    ]
    return follow(start, lambda way: _steps_of_nft(way, table, here))


_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_MAPS = {"service-nodeports": NODE_PORT, "service-ips": SERVICE_LB}
_TABLES = {"cni_hostport": HOST_PORT}
# kube-proxy's name for the chain of a service: external-HASH-NAMESPACE/NAME/PROTOCOL/PORT
_SERVICE = re.compile(r"(?:external|service)-[A-Z0-9]{8}-([^/]+/[^/]+)/[a-z]+/([^/]*)\Z")


@dataclass(frozen=True)
class _NatTable:
    """One table: its rules by chain, and the elements of its sets and maps by name."""

    name: str
    families: tuple[int, ...]
    entrances: tuple[str, ...]
    rules: Mapping[str, list[list[Mapping[str, Any]]]]
    elements: Mapping[str, list[Any]]

    @classmethod
    def of(cls, items: Iterable[Mapping[str, Any]]) -> _NatTable:
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
        """The right side of a match as texts: a value, a range, a network, or a set's elements."""
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


def _steps_of_nft(way: ChainHop, table: _NatTable, here: LocalAddresses) -> Iterator[ChainHop]:
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
                yield ChainHop("", packets, by, way.service)


def _into(way: ChainHop, packets: PacketSet, chain: str, by: str = "") -> ChainHop:
    service = _SERVICE.match(chain)
    if service is None or way.service:
        return ChainHop(chain, packets, way.by or by, way.service)
    name, port = service.groups()
    return ChainHop(chain, packets, way.by or by, f"{name}:{port}" if port else name)


def _matched(
    packets: PacketSet, match: Mapping[str, Any], table: _NatTable, here: LocalAddresses
) -> PacketSet:
    if match["op"] not in ("==", "!=", "in"):
        return packets
    values = table.values(match["right"])
    return _having(packets, match["left"], values, match["op"] == "!=", here)


def _mapped(
    way: ChainHop,
    packets: PacketSet,
    vmap: Mapping[str, Any],
    table: _NatTable,
    here: LocalAddresses,
) -> Iterator[ChainHop]:
    """The chains that the elements of a verdict map lead to."""
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


def _having(
    packets: PacketSet, left: Any, values: list[str], negated: bool, here: LocalAddresses
) -> PacketSet:
    """Keep the packets whose ``left`` expression has one of these values."""
    left = _dict(left)
    payload, fib = left.get("payload", {}), left.get("fib", {})
    field, protocol = payload.get("field"), payload.get("protocol")
    if field == "daddr":
        return narrow(packets, "to", values, negated)
    if field == "saddr":
        return narrow_to_source(packets, values, negated, here)
    if field == "dport":
        if protocol in PROTOCOLS:
            packets = narrow(packets, "protocol", [protocol], negated=False)
        return narrow(packets, "port", values, negated)
    if field in ("protocol", "nexthdr") or left.get("meta", {}).get("key") == "l4proto":
        return narrow(packets, "protocol", values, negated)
    if left.get("meta", {}).get("key") in ("iif", "iifname"):
        return narrow_to_interfaces(packets, values, negated)
    if fib.get("result") == "type":
        of_source = "saddr" in fib.get("flags", ())
        return narrow_to_address_type(
            packets, "".join(values), of_source=of_source, negated=negated
        )
    return packets
