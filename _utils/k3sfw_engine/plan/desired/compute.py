"""Tables and a role in, the firewalld objects of that node out. Pure.

Every object that a later change of the tables could need exists from the start, empty if need be: a
new object exists at runtime only after a reload, while the content of an existing one changes
without.
"""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.model.firewall_objects import (
    BOUND_TO_ANY,
    BOUND_TO_HOST,
    NODES_TO_PODS,
    PODS_TO_ANY,
    PODS_TO_HOST,
    ROWS,
    ZONE,
    FirewalldObject,
    Kind,
    by_key,
    our_object,
)
from k3sfw_engine.model.overlay import NOTHING_KNOWN, OverlayFacts
from k3sfw_engine.model.row_sources import is_pod_row
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.plan.desired.desired_objects import Desired, RowRule
from k3sfw_engine.plan.desired.ipsets import address_sets, make_ipset
from k3sfw_engine.plan.desired.pods import (
    forwarded_pods,
    interfaces_of_pods,
    pods_are_routed,
    pods_by_address,
    pods_come_by_interface,
    routed_pods,
)
from k3sfw_engine.plan.desired.policies import rows_policy, rules_of_row

# No packet meets it, as the policies accept before; compliance scanners ask it of zones in use.
_POD_ZONE_TARGET = "DROP"
# In a description, which is never changed: firewalld takes a new one only with a reload.
_BOUND = "pods that somebody else has bound to a zone,"


def compute_desired(tables: Tables, role: Role, overlay: OverlayFacts = NOTHING_KNOWN) -> Desired:
    """Compute the firewalld objects of a node with this role, and with these paths of pods."""
    rows = tables.rows_of(role)
    sets = address_sets(tables)
    pods_by_interface = pods_come_by_interface(tables, rows)
    rules = tuple(
        RowRule(row, rule)
        for row in rows
        if tables.pods_by_address or not (pods_by_interface and is_pod_row(row))
        for rule in rules_of_row(row, tables, sets)
    )
    interfaces = interfaces_of_pods(tables, overlay) if pods_by_interface else ()
    routed = pods_are_routed(tables, overlay)
    objects = [make_ipset(name, family, entries or ()) for (name, family), entries in sets.items()]
    objects.append(
        our_object(
            Kind.ZONE,
            ZONE,
            "interfaces of the CNI and the overlay",
            {"interfaces": interfaces, "forward": True, "target": _POD_ZONE_TARGET},
        )
    )
    objects += [
        rows_policy(ROWS, "rows of the port tables", "CONTINUE", "ANY", "HOST", rules),
        rows_policy(PODS_TO_HOST, "pods and services to this host", "ACCEPT", ZONE, "HOST"),
        rows_policy(PODS_TO_ANY, "pods and services to anywhere", "ACCEPT", ZONE, "ANY"),
        _nodes_to_pods(routed_pods(tables, rows, sets) if routed else ()),
    ]
    bound = pods_by_address(tables, rows, sets) if pods_by_interface else ()
    forwarded = forwarded_pods(tables, rows, sets)
    objects += [
        # firewalld creates no chains for them as long as they have no ingress zone.
        rows_policy(BOUND_TO_HOST, f"{_BOUND} to this host", "CONTINUE", "", "HOST", bound),
        rows_policy(
            BOUND_TO_ANY,
            f"{_BOUND} to anywhere",
            "CONTINUE",
            "ANY" if forwarded else "",
            "ANY",
            (*bound, *forwarded),
        ),
    ]
    return Desired(
        by_key(objects),
        rules,
        rows,
        pods_by_interface,
        tables.pod_cidrs,
        () if routed is not None else (_nodes_to_pods(routed_pods(tables, rows, sets)),),
    )


def _nodes_to_pods(rules: Iterable[RowRule]) -> FirewalldObject:
    what = "nodes and remote pods to pods, where no overlay carries them"
    return rows_policy(NODES_TO_PODS, what, "CONTINUE", "ANY", ZONE, rules)
