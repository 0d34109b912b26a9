"""Whether a plan is worth a trial start of firewalld. Pure."""

from __future__ import annotations

from k3sfw_engine.model.firewall_objects import FirewalldObject
from k3sfw_engine.plan.make_plan import Plan

# From here on the trial costs no more than the change itself: at runtime an entry takes firewalld
# six milliseconds and a rule thirteen, the trial takes 0.3 seconds.
_MANY = 50


def needs_trial(plan: Plan) -> bool:
    """Whether the plan is worth a trial: it reloads firewalld, or brings much that is new."""
    return bool(plan.reloads) or _new_items(plan) >= _MANY


def _new_items(plan: Plan) -> int:
    """How many entries, rules and the like come into the permanent configuration."""
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
