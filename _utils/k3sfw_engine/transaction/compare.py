"""Compare firewalld and the kernel with the port tables; nothing is touched."""

from __future__ import annotations

from dataclasses import replace

from k3sfw_engine.checks.lockout.shrunken_node_list import distrust_shrunken_list
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.runtime import observe
from k3sfw_engine.model.firewall_objects import ours
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.make_plan import Plan, make_plan
from k3sfw_engine.plan.observed import Observed


def compare(tables: Tables, role: Role) -> tuple[Plan, Observed]:
    """Tell how firewalld and the kernel differ from what is wanted; touch nothing."""
    with Bus() as bus:
        observed = observe(bus)
    return plan_for(tables, compute_desired(tables, role), observed), observed


def plan_for(tables: Tables, wanted: Desired, observed: Observed) -> Plan:
    tables = distrust_shrunken_list(tables, wanted, ours(observed.runtime))
    plan = make_plan(wanted, observed, narrow=not tables.unsure)
    return replace(plan, notices=(*notices_of(tables), *plan.notices))


def notices_of(tables: Tables) -> tuple[str, ...]:
    if not tables.unsure:
        return tables.notices
    reasons = "; ".join(tables.unsure)
    return (
        *tables.notices,
        f"no node is taken out of any ipset, as more may belong there: {reasons}",
    )
