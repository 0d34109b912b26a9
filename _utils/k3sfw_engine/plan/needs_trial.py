"""Whether a plan is worth a trial start of firewalld before it is carried out. Pure."""

from __future__ import annotations

from k3sfw_engine.model.firewall_objects import FirewalldObject
from k3sfw_engine.plan.defaults import NEW_ITEMS_WORTH_A_TRIAL
from k3sfw_engine.plan.make_plan import Plan


def needs_trial(plan: Plan) -> bool:
    """Whether the plan reloads firewalld, or adds much to its permanent configuration."""
    return bool(plan.reloads) or _new_items(plan) >= NEW_ITEMS_WORTH_A_TRIAL


def _new_items(plan: Plan) -> int:
    """How many entries, rules and other items are new in the permanent configuration."""
    return sum(
        len(value)
        for each in plan.differences
        if each.layer == "permanent"
        for value in (
            each.missing.settings.values()
            if isinstance(each.missing, FirewalldObject)
            else (each.missing,)
        )
        if isinstance(value, tuple)
    )
