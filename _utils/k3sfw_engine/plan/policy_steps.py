"""The steps that change a runtime policy or zone, so that nothing that stays open is ever closed.

First comes everything that opens, in a step of its own; what closes comes later in the plan. Pure.
"""

from __future__ import annotations

from k3sfw_engine.model.firewall_objects import CONTENT, FirewalldObject, Settings, in_order
from k3sfw_engine.plan.difference import differing_settings
from k3sfw_engine.plan.steps import SetRuntime, Step

OpensAndCloses = tuple[list[Step], list[Step]]


def setting_steps(want: FirewalldObject, have: FirewalldObject) -> OpensAndCloses:
    """Return the steps that open something, and those that close something."""
    final = {setting: want.settings[setting] for setting in differing_settings(want, have)}
    content = CONTENT[want.kind]
    both = in_order((*have.content, *want.content))
    opens: list[Step] = []
    if both != have.content:
        opened: Settings = {content: both}
        opens.append(_step(opened, have))
        have = have.with_settings(opened)
        if both == want.content:
            del final[content]
    return opens, [_step(final, have)] if final else []


def _step(settings: Settings, have: FirewalldObject) -> SetRuntime:
    before = {setting: have.settings[setting] for setting in settings}
    return SetRuntime(have.key, settings, before)
