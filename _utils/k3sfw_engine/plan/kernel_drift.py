"""Where the kernel differs from what firewalld believes it has of our objects. Pure.

firewalld answers from its memory, where a rule that was removed with nft still exists. Both sides
are sets of facts: ``firewalld/kernel_rules.py`` reads those of the kernel, and those that the
runtime objects must have made are computed here. Entries of ipsets become facts only where they
differ, as there may be thousands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import netaddr

from k3sfw_engine.model.addresses import networks_of_range
from k3sfw_engine.model.difference import Difference, Differences
from k3sfw_engine.model.firewall_objects import DEFAULTS, FirewalldObject, Kind, Objects
from k3sfw_engine.model.rich_rules import RichRule, UnparsedRule
from k3sfw_engine.model.zone_bindings import Bindings

ANY = "any"
SOMETIMES = "on some condition"

# Respects in which more facts than expected are drift; more interfaces are firewalld's own matter.
_EXACT = ("rich_rules", "target")


@dataclass(frozen=True)
class KernelFact:
    """One thing that a packet meets: of which object, in which respect, and its value.

    value
        A rich rule, or any other thing as a text.
    """

    kind: Kind
    name: str
    respect: str
    value: str | RichRule

    def __lt__(self, other: KernelFact) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[str, ...]:
        return (self.kind.value, self.name, self.respect, str(self.value))


@dataclass(frozen=True)
class KernelRules:
    """What the kernel holds of our objects.

    facts
        All of policies and zones.
    ipsets
        The entries of each ipset that exists, by its name.
    table
        Whether firewalld's table exists.
    """

    facts: frozenset[KernelFact] = frozenset()
    ipsets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    table: bool = True

    def with_ipsets(self, names: Collection[str], read: KernelRules) -> KernelRules:
        """Return the same with these ipsets as they were read later."""
        others = {name: entries for name, entries in self.ipsets.items() if name not in names}
        return replace(self, ipsets={**others, **read.ipsets})


@dataclass(frozen=True)
class KernelDrift:
    """Where the kernel differs from firewalld's runtime."""

    missing: frozenset[KernelFact] = frozenset()
    extra: frozenset[KernelFact] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """The objects that differ in any respect."""
        return frozenset(fact.name for fact in self.missing | self.extra)

    @property
    def ipsets(self) -> frozenset[str]:
        """The ipsets that exist with other entries than they should."""
        return frozenset(
            fact.name for fact in self.missing | self.extra if fact.respect == "entries"
        )

    @property
    def rules(self) -> bool:
        """Whether anything but the entries of an ipset differs."""
        return any(fact.respect != "entries" for fact in self.missing | self.extra)

    def differences(self) -> Differences:
        """Return the drift by object and respect."""
        respects = dict.fromkeys(
            (fact.kind, fact.name, fact.respect)
            for fact in (*sorted(self.extra), *sorted(self.missing))
        )
        return tuple(
            Difference(
                "kernel",
                (kind, name),
                respect,
                *(
                    tuple(
                        fact.value
                        for fact in sorted(facts)
                        if (fact.kind, fact.name, fact.respect) == (kind, name, respect)
                    )
                    for facts in (self.missing, self.extra)
                ),
            )
            for kind, name, respect in respects
        )


def kernel_drift(
    kernel: KernelRules | None, runtime: Objects, bindings: Bindings | None = None
) -> KernelDrift:
    """Compare the kernel's rules with what the runtime objects must have made there.

    kernel
        ``None`` if the kernel's rules are not known; then there is no drift.
    bindings
        The runtime bindings of all zones, to which our policies may refer.
    """
    if kernel is None:
        return KernelDrift()
    expected = frozenset(_expected(runtime, bindings or Bindings()))
    explained = _with_rules_of_others(runtime)
    extra = (
        fact
        for fact in kernel.facts - expected
        if fact.respect in _EXACT
        and (fact.kind, fact.name) in runtime
        and fact.name not in explained
    )
    ipsets = [
        _drift_of_ipset(name, frozenset(each.items("entries")), kernel.ipsets.get(name))
        for (kind, name), each in runtime.items()
        if kind is Kind.IPSET
    ]
    return KernelDrift(
        (expected - kernel.facts).union(*(each.missing for each in ipsets)),
        frozenset(extra).union(*(each.extra for each in ipsets)),
    )


def _drift_of_ipset(name: str, wanted: frozenset[str], there: frozenset[str] | None) -> KernelDrift:
    """Compare an ipset with the entries that the kernel has; ``None`` if it does not exist."""

    def facts(entries: Iterable[str]) -> frozenset[KernelFact]:
        return frozenset(KernelFact(Kind.IPSET, name, "entries", entry) for entry in entries)

    if there is None:
        return KernelDrift(facts(wanted) | {KernelFact(Kind.IPSET, name, "ipset", "exists")})
    missing, extra = wanted - there, there - wanted
    if _same_addresses(missing, extra):
        return KernelDrift()
    return KernelDrift(facts(missing), facts(extra))


def _same_addresses(missing: frozenset[str], extra: frozenset[str]) -> bool:
    """Whether these are the same: the kernel joins adjacent addresses into a range."""
    # Thousands of single addresses need not be read to see that they are others.
    if not missing or not extra or not any("-" in each or "/" in each for each in missing | extra):
        return missing == extra

    def addresses(entries: Iterable[str]) -> netaddr.IPSet:
        return netaddr.IPSet(network for entry in entries for network in networks_of_range(entry))

    return bool(addresses(missing) == addresses(extra))


def _with_rules_of_others(runtime: Objects) -> frozenset[str]:
    """Policies to which others added what we never create, so that the kernel rightly has more."""
    return frozenset(
        name
        for (kind, name), each in runtime.items()
        if kind is Kind.POLICY
        and (
            any(isinstance(rule, UnparsedRule) for rule in each.rules)
            or any(
                each.settings[setting] != empty
                for setting, empty in DEFAULTS[kind].items()
                if isinstance(empty, (tuple, bool))
                and setting not in ("rich_rules", "ingress_zones", "egress_zones")
            )
        )
    )


# -- what the runtime objects must have made ------------------------------------------------------


def _expected(runtime: Objects, bindings: Bindings) -> Iterator[KernelFact]:
    for (kind, name), each in runtime.items():
        if kind is Kind.ZONE:
            for interface in each.items("interfaces"):
                yield KernelFact(kind, name, "entered by", interface)
        elif kind is Kind.POLICY:
            yield from _expected_of_policy(each, runtime, bindings)


def _expected_of_policy(
    policy: FirewalldObject, runtime: Objects, bindings: Bindings
) -> Iterator[KernelFact]:
    sides = [set(policy.items(setting)) for setting in ("ingress_zones", "egress_zones")]
    named = [zones for zones in sides if zones.isdisjoint(("ANY", "HOST"))]
    entrances: list[str] = []
    for zones in named:
        interfaces, active = _entrances(zones, runtime, bindings)
        if not active:
            return  # firewalld creates no chains for a policy whose zones are not active.
        entrances += interfaces
    for entrance in entrances if named else [ANY]:
        yield KernelFact(Kind.POLICY, policy.name, "entered by", entrance)
    for rule in policy.rules:
        if isinstance(rule, RichRule):
            yield KernelFact(Kind.POLICY, policy.name, "rich_rules", rule)
    if policy.settings["target"] == "ACCEPT":
        yield KernelFact(Kind.POLICY, policy.name, "target", "ACCEPT")


def _entrances(
    zones: Iterable[str], runtime: Objects, bindings: Bindings
) -> tuple[list[str], bool]:
    """The interfaces of the zones, and whether any of the zones is bound to anything."""
    interfaces: list[str] = []
    active = False
    for zone in sorted(zones):
        ours = runtime.get((Kind.ZONE, zone))
        found = ours.items("interfaces") if ours else bindings.interfaces_of(zone)
        # nft writes a wildcard in another way, and it may match no interface.
        interfaces += [name for name in found if not name.endswith("+")]
        active = active or bool(found) or (not ours and bindings.is_active(zone))
    return interfaces, active
