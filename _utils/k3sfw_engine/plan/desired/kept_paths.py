"""Keep the present paths of pods where nothing proves that they are gone. Pure.

Before K3s has started, after a boot for example, neither its devices nor its routes exist; what is
closed then would have to be opened again once they do.
"""

from __future__ import annotations

import re
from dataclasses import replace

from k3sfw_engine.model.firewall_objects import ZONE, Kind, Objects
from k3sfw_engine.plan.desired.desired_objects import Desired

# Of any backend: the node may run another one than pillar says.
_OF_FLANNEL = re.compile(r"flannel((-v6)?\.[0-9]+|-wg(-v6)?)\Z")


def keep_paths_of_pods(wanted: Desired, permanent: Objects) -> Desired:
    """Keep flannel's devices in zone k3s, and the rules for routed pods while that is unknown.

    permanent
        Our objects as the permanent configuration has them.
    """
    objects = dict(wanted.objects)
    for each in wanted.if_routed:
        if each.key in permanent and permanent[each.key].rules:
            objects[each.key] = each
    zone, present = objects[Kind.ZONE, ZONE], permanent.get((Kind.ZONE, ZONE))
    if present and zone.items("interfaces"):
        kept = filter(_OF_FLANNEL.match, present.items("interfaces"))
        names = tuple(sorted({*zone.items("interfaces"), *kept}))
        objects[zone.key] = zone.with_settings({"interfaces": names})
    return replace(wanted, objects=objects)
