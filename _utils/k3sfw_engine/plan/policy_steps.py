"""The steps that change a runtime policy or zone without a gap. Pure."""

from __future__ import annotations

from k3sfw_engine.model.firewall_objects import CONTENT, FirewalldObject, Settings, in_order
from k3sfw_engine.plan.difference import differing_settings
from k3sfw_engine.plan.steps import SetRuntime, Step

OpensAndCloses = tuple[list[Step], list[Step]]


def setting_steps(want: FirewalldObject, have: FirewalldObject) -> OpensAndCloses:
    final = {setting: want.settings[setting] for setting in differing_settings(want, have)}
    content = CONTENT[want.kind]
    both = in_order((*have.content, *want.content))
    opens: list[Step] = []
    if both != have.content:
        opened: Settings = {content: both}
        opens.append(SetRuntime(want.key, opened, _changed(opened, have)))
        have = have.with_settings(opened)
        if both == want.content:
            del final[content]
    return opens, [SetRuntime(want.key, final, _changed(final, have))] if final else []


def _changed(settings: Settings, have: FirewalldObject) -> int:
    return sum(
        len({*value} ^ {*have.listed(setting)}) if isinstance(value, tuple) else 1
        for setting, value in settings.items()
    )
