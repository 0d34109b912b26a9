"""Every zone in use with its target in each layer: what scanners of hardened hosts ask. Pure."""

from __future__ import annotations

from k3sfw_engine.model.zones import ObservedZones


def list_targets(found: ObservedZones) -> dict[str, dict[str, str]]:
    """Return the target of each zone that is in use in any layer; empty where it is not known."""
    return {
        name: {layer: zones.targets.get(name, "") for layer, zones in found.layers.items()}
        for name in sorted(found.zones)
    }
