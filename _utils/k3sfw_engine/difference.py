"""How what is observed differs from what is wanted. Pure.

Status, plan, test mode and apply are this one comparison read four ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .bindings import Bindings
from .desired import RETURN_PATH
from .kernel import Drift, KernelRules, kernel_drift
from .objects import FirewalldObject, Key, Kind, Objects, Value, is_ours, make_object


@dataclass(frozen=True)
class Observed:
    """What firewalld and the kernel have.

    runtime, permanent
        Every object whose name begins with k3s, ours or not.
    damaged
        Permanent objects whose file cannot be read.
    kept
        Of the damaged, those that we have a copy of.
    bindings
        By layer, what the zones of everybody are bound to.
    zones
        The zones that the permanent configuration has.
    users
        For a permanent object of ours, the objects of others that name it.
    kernel
        The rules that the kernel holds of our objects; ``None`` where they cannot be read (the
        iptables backend).
    """

    runtime: Objects
    permanent: Objects
    damaged: frozenset[Key] = frozenset()
    kept: frozenset[Key] = frozenset()
    bindings: Mapping[str, Bindings] = field(default_factory=dict)
    zones: frozenset[str] = frozenset()
    users: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    kernel: KernelRules | None = None

    @property
    def readable(self) -> Objects:
        """The permanent objects whose file can be read."""
        return {key: each for key, each in self.permanent.items() if key not in self.damaged}

    def drift(self) -> Drift:
        """Where the kernel differs from the runtime objects that we made."""
        return kernel_drift(self.kernel, ours(self.runtime), self.bindings.get("runtime"))


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


def ours(objects: Objects) -> Objects:
    """Those of the objects that we made."""
    return {key: each for key, each in objects.items() if is_ours(each)}


def title(key: Key) -> str:
    """An object's name as people read it."""
    return f"{key[0].value} {key[1]}"


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
