"""Leave pods' interfaces in the zones to which the operator bound them; accept pods there. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.model.firewall_objects import (
    BOUND_TO_ANY,
    BOUND_TO_HOST,
    NODES_TO_PODS,
    ZONE,
    Kind,
    Objects,
)


def leave_bound_interfaces(
    objects: Objects, interfaces: Iterable[str], zones: Iterable[str]
) -> Objects:
    """Leave interfaces that are bound to other zones where they are, and accept pods in those.

    interfaces
        The interfaces of pods that are bound to other zones.
    zones
        The other zones in which packets of pods arrive.
    """
    zone, routed = objects[Kind.ZONE, ZONE], objects[Kind.POLICY, NODES_TO_PODS]
    kept = tuple(sorted({*zone.items("interfaces")}.difference(interfaces)))
    other_zones = tuple(sorted(zones))
    changed = [zone.with_settings({"interfaces": kept})]
    if routed.rules:
        changed.append(routed.with_settings({"egress_zones": tuple(sorted((ZONE, *other_zones)))}))
    for name in (BOUND_TO_HOST, BOUND_TO_ANY):
        policy = objects[Kind.POLICY, name]
        if not policy.items("ingress_zones"):
            changed.append(policy.with_settings({"ingress_zones": other_zones}))
    return {**objects, **{each.key: each for each in changed}}
