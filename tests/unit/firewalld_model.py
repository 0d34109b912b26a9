"""A small model of firewalld that carries out the steps of a plan as firewalld does.

What it refuses was seen to be refused by firewalld 1.3.3.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations

import netaddr

from k3sfw_engine.model.firewall_objects import (
    DEFAULTS,
    Kind,
    by_key,
    is_ours,
)
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.zone_bindings import Bindings
from k3sfw_engine.plan.kernel_drift import KernelFact, KernelRules, kernel_drift
from k3sfw_engine.plan.observed import Observed

# -- firewalld, as far as a plan has to do with it ------------------------------------------------


class Refused(Exception):
    """firewalld answers with an error."""


@dataclass
class Firewalld:
    """Runtime and permanent objects named k3s*, and what of them got lost in the kernel."""

    runtime: dict = field(default_factory=dict)
    permanent: dict = field(default_factory=dict)
    damaged: set = field(default_factory=set)
    interface_zones: dict = field(default_factory=dict)  # of others: interface -> zone
    kernel_lost: set = field(default_factory=set)
    kernel_extra: set = field(default_factory=set)
    table: bool = True

    def observed(self, *, kernel: bool = True) -> Observed:
        rules = None
        if kernel:
            bindings = Bindings(self.interface_zones)
            facts = (kernel_facts(self.runtime, bindings) - self.kernel_lost) | self.kernel_extra
            rules = kernel_of(facts) if self.table else KernelRules(table=False)
        return Observed(
            runtime=by_key(self.runtime.values()),
            permanent=by_key(self.permanent.values()),
            damaged=frozenset(self.damaged),
            bindings=dict.fromkeys(("runtime", "permanent"), Bindings(self.interface_zones)),
            zones=frozenset(self.interface_zones.values()),
            kernel=rules,
        )

    def run(self, plan):
        """Carry all steps out, and yield after each."""
        for step in plan.steps:
            self.carry_out(step)
            yield step

    def carry_out(self, step) -> None:
        getattr(self, type(step).__name__)(step)

    # Zones and rules are checked when they are written, references only when they are loaded.
    def WritePermanent(self, step) -> None:
        each = step.object
        if each.kind is Kind.ZONE and set(each.items("interfaces")) & set(self.interface_zones):
            raise Refused("ZONE_CONFLICT")
        refuse_rules(each)
        assert step.exists == (each.key in self.permanent)
        self.permanent[each.key] = each
        self.damaged.discard(each.key)

    def RemovePermanent(self, step) -> None:
        if step.key not in self.permanent and step.key not in self.damaged:
            raise Refused("INVALID_NAME")
        self.permanent.pop(step.key, None)
        self.damaged.discard(step.key)

    def Reload(self, step) -> None:
        if not self.table and not step.restore_table:
            raise Refused("COMMAND_FAILED: no such table")
        self.refuse_unloadable()
        self.runtime = dict(self.permanent)
        self.kernel_lost, self.kernel_extra, self.table = set(), set(), True

    def SetRuntime(self, step) -> None:
        have = self.runtime[step.key]
        for setting in step.settings:
            if not isinstance(DEFAULTS[have.kind][setting], (tuple, bool)):
                raise Refused(f"INVALID_OPTION: {setting}")
        new = have.with_settings(step.settings)
        # What firewalld is given time for is what it has to do.
        assert step.changed == sum(
            len({*value} ^ {*have.listed(setting)}) if isinstance(value, tuple) else 1
            for setting, value in step.settings.items()
        )
        if have.kind is Kind.ZONE and set(new.items("interfaces")) & set(self.interface_zones):
            raise Refused("ZONE_CONFLICT")
        refuse_rules(new)
        refuse_unknown_names(new, self.runtime)
        self.runtime[step.key] = new

    def ChangeEntries(self, step) -> None:
        entries = list(self.runtime[Kind.IPSET, step.name].items("entries"))
        for entry in step.add:
            if any(overlap(entry, other) for other in entries):
                raise Refused(f"INVALID_ENTRY: {entry} overlaps")
            entries.append(entry)
        for entry in step.remove:
            if entry not in entries or KernelFact(Kind.IPSET, step.name, "entries", entry) in (
                self.kernel_lost
            ):
                raise Refused(f"NOT_ENABLED: {entry}")
            entries.remove(entry)
        self.fill(step.name, entries)

    def RefillEntries(self, step) -> None:
        self.fill(step.name, step.entries)
        for facts in (self.kernel_lost, self.kernel_extra):
            facts -= {fact for fact in facts if (fact.name, fact.respect) == (step.name, "entries")}

    def fill(self, name, entries) -> None:
        each = self.runtime[Kind.IPSET, name]
        refuse_entries(entries)
        self.runtime[each.key] = each.with_settings({"entries": tuple(sorted(entries))})

    def refuse_unloadable(self) -> None:
        """What brings firewalld into state FAILED when it loads the permanent configuration."""
        for each in self.permanent.values():
            refuse_unknown_names(each, self.permanent)
            refuse_rules(each)
            if each.kind is Kind.IPSET:
                refuse_entries(each.items("entries"))


def kernel_of(facts):
    """A kernel with these facts."""
    facts = frozenset(facts)
    ipsets = {fact for fact in facts if fact.kind is Kind.IPSET}
    return KernelRules(
        facts - ipsets,
        {
            each.name: frozenset(
                fact.value for fact in ipsets if (fact.name, fact.respect) == (each.name, "entries")
            )
            for each in ipsets
            if each.respect == "ipset"
        },
    )


def kernel_facts(runtime, bindings=None):
    return set(kernel_drift(KernelRules(), runtime, bindings).missing)


def refuse_rules(each) -> None:
    for rule in map(str, each.rules):
        if rule in ('rule family="ipv4" accept', 'rule family="ipv6" accept'):
            raise Refused("INVALID_RULE: no element, no source, no destination")


def refuse_unknown_names(each, objects) -> None:
    """Names that begin with k3s must be there; the rest of the world is not part of the model."""
    for rule in map(str, each.rules):
        for name in re.findall(r'ipset="(k3s[^"]*)"', rule):
            if (Kind.IPSET, name) not in objects:
                raise Refused(f"INVALID_IPSET: {name}")
    for setting in ("ingress_zones", "egress_zones"):
        for name in each.settings.get(setting, ()):
            if name.startswith("k3s") and (Kind.ZONE, name) not in objects:
                raise Refused(f"INVALID_ZONE: {name}")


def refuse_entries(entries) -> None:
    for one, other in combinations(entries, 2):
        if overlap(one, other):
            raise Refused(f"INVALID_ENTRY: {one} overlaps {other}")
    if any(entry.endswith("/0") for entry in entries):
        raise Refused("INVALID_ENTRY: /0")


@cache
def span(text):
    network = netaddr.IPNetwork(text)
    return network.version, network.first, network.last


def overlap(one, other):
    (version, first, last), (other_version, other_first, other_last) = span(one), span(other)
    return version == other_version and first <= other_last and other_first <= last


# -- what a packet meets --------------------------------------------------------------------------

OUTSIDERS = ("203.0.113.250", "2001:db8:ffff::1")


def grants(objects):
    """``{(policy, protocol, port): [span, …]}`` for the first and last port of every rule."""
    found = defaultdict(set)
    edges = set()
    written = []
    for (kind, name), each in objects.items():
        if kind is not Kind.POLICY or not is_ours(each):
            continue
        for rule in each.rules:
            if not isinstance(rule, RichRule):
                continue
            written.append((name, rule))
            if rule.port:
                edges |= {rule.port.low, rule.port.high}
    for name, rule in written:
        everyone = "0.0.0.0/0" if rule.family == 4 else "::/0"
        sources = [rule.address or everyone]
        if rule.ipset:
            sources = objects[Kind.IPSET, rule.ipset].items("entries")
        ports = [None] if rule.port is None else [port for port in edges if port in rule.port]
        for port in ports:
            found[name, rule.protocol, port] |= {span(source) for source in sources}
    return found


def accepted(objects, packets):
    """Return the packets that the objects accept."""
    found = grants(objects)
    return {
        packet
        for packet in packets
        if any(
            version == packet[0] and first <= packet[1] <= last
            for version, first, last in found.get(packet[2:], ())
        )
    }


def packets_of(*states):
    """Packets from the edges of all networks, and from outside, to the ports of all rules."""
    asked = set()
    sources = {(version, address) for version, address, _last in map(span, OUTSIDERS)}
    for objects in states:
        found = grants(objects)
        asked |= set(found)
        for spans in found.values():
            for version, first, last in spans:
                sources |= {(version, first), (version, last)}
    return {(*source, *question) for source in sources for question in asked}
