"""The zones of the operator as an adoption will leave them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from k3sfw_engine.model.firewall_objects import FirewalldObject
from k3sfw_engine.model.zones import OtherRules
from k3sfw_engine.plan.steps import Elements, Step, TakeOutOfZone

_LAYERS = ("runtime", "permanent")


def without_what_goes(layers: Sequence[OtherRules], steps: Iterable[Step]) -> list[OtherRules]:
    """Take out of each layer's zones what the steps take out.

    layers
        Runtime and permanent, in this order.
    """
    found = dict(zip(_LAYERS, layers))
    for step in steps:
        if isinstance(step, TakeOutOfZone) and step.zone.name in found[step.layer].zones:
            rules, name = found[step.layer], step.zone.name
            zones = {**rules.zones, name: _without(rules.zones[name], step.elements)}
            found[step.layer] = replace(rules, zones=zones)
    return list(found.values())


def _without(zone: FirewalldObject, elements: Elements) -> FirewalldObject:
    left = {
        setting: tuple(item for item in zone.listed(setting) if item not in items)
        for setting, items in elements.items()
    }
    return replace(zone, settings={**zone.settings, **left})
