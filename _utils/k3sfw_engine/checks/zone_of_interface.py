"""The firewalld zone of an interface, and the verdict if it must not be in that zone. Pure.

check_routes and check_zones share it. The rows hold in every zone; a zone that accepts everything
makes them pointless, and in zone k3s every packet is treated as one from a pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from k3sfw_engine.checks.kept_ssh import keep_ssh
from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.suggested_commands import (
    LAYER_OPTIONS,
    apply_firewall,
    clear_nm_zone,
    move_interface,
)
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.checks.zone_openings import rejects_the_rest
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.zones import ObservedZones

# The default zone of firewalld as it is shipped.
STOCK_ZONE = "public"

_WHEN = {
    ("runtime", "permanent"): " (at runtime and permanently)",
    ("runtime",): " (at runtime)",
    ("permanent",): " (permanently: from the next reload on)",
}


def when(layers: Iterable[str]) -> str:
    """Say in brackets in which layers something holds."""
    found = set(layers)
    return _WHEN[tuple(layer for layer in LAYER_OPTIONS if layer in found)]


def zone_of(found: ObservedZones, name: str, layer: str) -> str:
    """The zone that an interface is in."""
    zones = found.layers[layer]
    # NetworkManager binds the interfaces that it manages, also after a reload.
    connection = (found.connections or {}).get(name)
    later = connection.zone if connection and layer == "permanent" else ""
    return zones.bound.get(name) or later or zones.default


def accepts_everything(found: ObservedZones, zone: str, layers: Iterable[str]) -> bool:
    """Whether the zone accepts everything in one of these layers."""
    zones = [found.layers[layer].zones.get(zone) for layer in layers]
    return any(
        each and each.settings["target"] == "ACCEPT" and not rejects_the_rest(each)
        for each in zones
    )


def judge_uplinks(at: NodeFacts, found: ObservedZones | None) -> Iterator[Check]:
    """The verdict on the zone of each of the node's own interfaces.

    found
        ``None`` if the zones could not be read.
    """
    for problem in at.host.unread:
        yield at.check(None, "firewalld", Status.UNPROVEN, problem)
    if found is None:
        return
    for link in at.uplinks:
        zones: dict[str, list[str]] = {}
        for layer in LAYER_OPTIONS:
            zones.setdefault(zone_of(found, link.name, layer), []).append(layer)
        wrong = list(judge_pod_zone(at, found, link.name))
        for zone, layers in zones.items():
            open_in = [layer for layer in layers if accepts_everything(found, zone, [layer])]
            if open_in and zone != ZONE:
                wrong.append(judge_open_zone(at, found, link.name, zone, open_in))
        evidence = f"{link.name} is in zone {zone_of(found, link.name, 'runtime')}"
        yield from wrong or [at.check(None, "zone", Status.OK, evidence)]


def judge_pod_zone(at: NodeFacts, found: ObservedZones, name: str) -> Iterator[Check]:
    """The verdict on an interface that has no pods behind it but is in the zone for pods."""
    layers = [layer for layer in LAYER_OPTIONS if zone_of(found, name, layer) == ZONE]
    if not layers:
        return
    node = at.node.name
    connection = (found.connections or {}).get(name)
    fix = apply_firewall(node)
    if connection and connection.zone == ZONE:
        default = found.permanent.default
        kept = keep_ssh(at.host, found, default, LAYER_OPTIONS)
        fix = f"{at.run_here(*kept, clear_nm_zone(connection.name))} && {fix}"
    elif any(found.layers[layer].default == ZONE for layer in layers):
        kept = keep_ssh(at.host, found, STOCK_ZONE, LAYER_OPTIONS)
        fix = at.run_here(*kept, f"firewall-cmd --set-default-zone={STOCK_ZONE}")
    evidence = f"{name} is in zone {ZONE}{when(layers)}, so any host on that link is treated as a "
    yield at.check(None, "zone", Status.EXPOSED, Problem(f"{evidence}pod", fix))


def has_own_guests(at: NodeFacts, name: str) -> bool:
    """Whether only containers or virtual machines of this host are behind the interface."""
    link = at.network.interfaces.get(name)
    return link is not None and link.kind == "bridge" and link not in at.uplinks


GUESTS_MAY = "nothing, if they may reach every port of this node"


def judge_open_zone(
    at: NodeFacts, found: ObservedZones, name: str, zone: str, layers: Sequence[str]
) -> Check:
    """The verdict on an interface in a zone that accepts everything in these layers."""
    evidence = f"{name} is in zone {zone}{when(layers)}, which accepts everything: no row "
    if has_own_guests(at, name):
        evidence += "restricts the containers or virtual machines behind that bridge"
        return at.check(None, "zone", Status.CONFLICT, Problem(evidence, GUESTS_MAY))
    kept = keep_ssh(at.host, found, STOCK_ZONE, layers)
    fix = at.run_here(*kept, *move_interface(name, STOCK_ZONE, layers))
    problem = Problem(f"{evidence}restricts anything", fix)
    return at.check(None, "zone", Status.EXPOSED, problem)
