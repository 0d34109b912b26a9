"""Compares firewalld and the kernel with the port tables. Nothing is touched."""

from __future__ import annotations

from dataclasses import replace

from k3sfw_engine.checks.lockout.shrunken_node_list import distrust_shrunken_list
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.file_copies import known
from k3sfw_engine.firewalld.permanent import read_permanent
from k3sfw_engine.firewalld.runtime import observe
from k3sfw_engine.model.firewall_objects import Objects, ours
from k3sfw_engine.model.overlay import OverlayFacts
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.make_plan import Plan, ReloadCostsLess, make_plan, one_by_one
from k3sfw_engine.plan.observed import LAYERS, Observed
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.reload_for_rules import reload_costs_less


def compare(tables: Tables, role: Role, overlay: OverlayFacts) -> tuple[Plan, Observed]:
    """Compare this host with the tables; return the plan, and what it was made from."""
    wanted = compute_desired(tables, role, overlay)
    with Bus() as bus:
        observed = observe(bus)
        plan = plan_for(tables, wanted, observed, reload_costs_less(bus, observed))
    return plan, observed


def layers_in_step(plan: Plan, observed: Observed) -> dict[str, bool | None]:
    """Whether each layer matches the tables; ``None`` for a kernel that could not be read."""
    differing = {each.layer for each in plan.differences}
    found: dict[str, bool | None] = {layer: layer not in differing for layer in LAYERS}
    return found if observed.kernel is not None else {**found, "kernel": None}


def plan_for(
    tables: Tables,
    wanted: Desired,
    observed: Observed,
    reload_costs_less: ReloadCostsLess = one_by_one,
) -> Plan:
    """Plan from what is observed; a list of nodes that shrank too much removes none."""
    tables = distrust_shrunken_list(tables, wanted, ours(observed.runtime))
    plan = make_plan(
        wanted, observed, narrow=not tables.unsure, reload_costs_less=reload_costs_less
    )
    return replace(plan, notices=(*notices_of(tables), *plan.notices))


def observe_files(runtime: Objects) -> Observed:
    """Read the permanent files alone.

    runtime
        What firewalld will have at runtime once it is started: there is nothing to compare with.
    """
    permanent = read_permanent()
    kept = known(permanent.damaged)
    # A damaged file without a copy may be another owner's.
    doubtful = permanent.damaged - kept
    return Observed(
        runtime={key: each for key, each in runtime.items() if key not in doubtful},
        permanent=permanent.objects,
        damaged=permanent.damaged,
        kept=kept,
        bindings={"permanent": permanent.bindings},
        zones=permanent.zones,
        users=permanent.users,
    )


def plan_of_files(tables: Tables, wanted: Desired, observed: Observed) -> Plan:
    """Plan from the permanent files; a list of nodes that shrank too much removes none."""
    known_nodes = trusted_by_files(tables, wanted, observed)
    plan = make_plan(wanted, observed, narrow=not known_nodes.unsure)
    return replace(plan, notices=(*notices_of(known_nodes), *plan.notices))


def trusted_by_files(tables: Tables, wanted: Desired, observed: Observed) -> Tables:
    """The tables, unsure of their nodes if the files have far more."""
    return distrust_shrunken_list(tables, wanted, ours(observed.permanent))


def notices_of(tables: Tables) -> tuple[str, ...]:
    """The notices of the tables, and one if the list of nodes may be incomplete."""
    if not tables.unsure:
        return tables.notices
    return (*tables.notices, messages.node_list_is_incomplete(tables.unsure))
