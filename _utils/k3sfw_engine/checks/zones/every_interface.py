"""Every interface of a node with its zone in each layer, and what that means. Pure."""

from __future__ import annotations

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.zones import messages
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.interfaces_and_routes import Interface
from k3sfw_engine.model.kubernetes_names import kind_of
from k3sfw_engine.model.zones import ObservedZones


def list_interfaces(at: NodeFacts, found: ObservedZones) -> dict[str, dict[str, str]]:
    """Every interface but loopback; interfaces of pods that are alike share a line."""
    seen = ZoneFacts(at, found)
    lines: dict[str, list[Interface]] = {}
    for name, link in sorted(at.network.interfaces.items()):
        if name != "lo":
            lines.setdefault(_line(seen, link), []).append(link)
    return {
        _title(line, links): {
            "runtime": seen.zone_of(links[0].name, "runtime"),
            "permanent": found.permanent.bound.get(links[0].name, ""),
            "network_manager": _managed(seen, links[0].name),
            "meaning": _meaning(seen, links[0]),
        }
        for line, links in lines.items()
    }


def _line(seen: ZoneFacts, link: Interface) -> str:
    kind = kind_of(link.name)
    if link.name in seen.at.cni or not kind:
        return link.name
    zones = sorted({layer.bound.get(link.name, "") for layer in seen.found.layers.values()} - {""})
    master = f" on {link.master}" if link.master else ""
    return f"{kind}*{master}" + (f" in zone {' and '.join(zones)}" if zones else "")


def _title(line: str, links: list[Interface]) -> str:
    return links[0].name if len(links) == 1 else f"{len(links)} {line}"


def _managed(seen: ZoneFacts, name: str) -> str:
    connections = seen.found.connections
    if connections is None:
        return ""
    if name not in connections:
        return "unmanaged"
    found = connections[name]
    if not found.name:
        return "managed (no connection)"
    return f"managed (connection {found.name}, {f'zone {found.zone}' if found.zone else 'no zone'})"


def _meaning(seen: ZoneFacts, link: Interface) -> str:
    zone = seen.zone_of(link.name, "runtime")
    if link.name in seen.at.cni:
        return messages.PODS_COME_IN if zone == ZONE else messages.pods_elsewhere(zone)
    if carrier := seen.carrier_of(link):
        return messages.part_of(carrier)
    if zone == ZONE:
        return messages.TREATED_AS_PODS
    if seen.accepts(zone, ["runtime"]):
        return messages.zone_accepts_all(zone)
    return messages.rows_then_zone(zone)
