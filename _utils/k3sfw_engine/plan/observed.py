"""What firewalld and the kernel have now, layer by layer, as data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from k3sfw_engine.model.firewall_objects import Key, Objects, ours
from k3sfw_engine.model.zone_bindings import Bindings
from k3sfw_engine.plan.kernel_drift import KernelDrift, KernelRules, kernel_drift


@dataclass(frozen=True)
class Observed:
    """What firewalld and the kernel have.

    runtime, permanent
        Every object whose name begins with k3s, ours or not.
    damaged
        Permanent objects whose file cannot be read.
    kept
        The damaged objects of which there is a copy.
    bindings
        By layer, the interfaces and sources of all zones.
    zones
        The names of the permanent zones.
    users
        For a permanent object of ours, the objects of others that refer to it.
    other_zones_drop
        Whether all zones of others that are in use have the target DROP.
    kernel
        What the kernel holds of our objects; ``None`` if it cannot be read, as with firewalld's
        iptables backend.
    """

    runtime: Objects
    permanent: Objects
    damaged: frozenset[Key] = frozenset()
    kept: frozenset[Key] = frozenset()
    bindings: Mapping[str, Bindings] = field(default_factory=dict)
    zones: frozenset[str] = frozenset()
    users: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    other_zones_drop: bool = False
    kernel: KernelRules | None = None

    @property
    def readable(self) -> Objects:
        """The permanent objects whose file can be read."""
        return {key: each for key, each in self.permanent.items() if key not in self.damaged}

    @cached_property
    def drift(self) -> KernelDrift:
        """Where the kernel differs from our runtime objects."""
        return kernel_drift(self.kernel, ours(self.runtime), self.bindings.get("runtime"))


LAYERS = ("runtime", "permanent", "kernel")
