"""How what is observed differs from what is wanted. Pure.

Status, plan, test mode and apply are this one comparison read four ways.
"""

from __future__ import annotations

from typing import Any

from k3sfw_engine.model.firewall_objects import (
    RETURN_PATH,
    FirewalldObject,
    Kind,
    Objects,
    Value,
    make_object,
    ours,
    title,
)
from k3sfw_engine.plan.observed import Observed


def layer_changes(wanted: Objects, runtime_wanted: Objects, observed: Observed) -> dict[str, Any]:
    """``{layer: {object: {setting: {"old": …, "new": …}}}}`` for the layers that differ."""
    layers = {
        "permanent": _differences(wanted, observed.permanent, lingering=False),
        "runtime": _differences(runtime_wanted, observed.runtime, lingering=True),
        "kernel": observed.drift().differences(),
    }
    return {layer: differences for layer, differences in layers.items() if differences}


def _differences(wanted: Objects, observed: Objects, *, lingering: bool) -> dict[str, Any]:
    """One layer's changes; an ipset that lingers until a reload is no difference once empty."""
    found: dict[str, Any] = {}
    for key, want in wanted.items():
        have = observed.get(key)
        if have is None:
            found[title(key)] = {"old": None, "new": plain_settings(want)}
        elif differing := differing_settings(want, have):
            found[title(key)] = {
                setting: _old_and_new(have.settings.get(setting), want.settings[setting])
                for setting in differing
            }
    for key, have in obsolete(wanted, observed).items():
        if not (lingering and _is_empty_ipset(have)):
            found[title(key)] = {"old": plain_settings(have), "new": None}
    return dict(sorted(found.items()))


def differing_settings(want: FirewalldObject, have: FirewalldObject) -> list[str]:
    """The settings in which an object differs."""
    return sorted(
        setting
        for setting in {*want.settings, *have.settings}
        if want.settings.get(setting) != have.settings.get(setting)
    )


def obsolete(wanted: Objects, observed: Objects) -> Objects:
    """Objects of ours that the tables no longer need. The return path stays as it was made."""
    return {
        key: each
        for key, each in ours(observed).items()
        if key not in wanted and each.name != RETURN_PATH
    }


def _is_empty_ipset(each: FirewalldObject) -> bool:
    return each.kind is Kind.IPSET and not each.settings["entries"]


def plain_settings(each: FirewalldObject) -> dict[str, Any]:
    """The settings that differ from an empty object's, as plain data."""
    empty = make_object(each.kind, each.name, {}).settings
    return {
        setting: list(value) if isinstance(value, tuple) else value
        for setting, value in sorted(each.settings.items())
        if value != empty.get(setting)
    }


def _old_and_new(old: Value | None, new: Value) -> dict[str, Any]:
    if isinstance(old, tuple) and isinstance(new, tuple):
        return {
            "old": [item for item in old if item not in set(new)],
            "new": [item for item in new if item not in set(old)],
        }
    return {"old": old, "new": new}
