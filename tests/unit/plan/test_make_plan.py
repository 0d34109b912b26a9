"""The steps of a plan lead from whatever is observed to what is wanted, without a gap.

``Firewalld`` is a small model that carries steps out as firewalld does. What it refuses was seen to
be refused by firewalld 1.3.3.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations

import netaddr
import pytest
from hypothesis import given, settings, strategies as st

from k3sfw_engine.errors import ForeignObject
from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.firewall_objects import (
    CONTENT,
    DEFAULTS,
    FirewalldObject,
    Kind,
    by_key,
    digest,
    in_order,
    is_ours,
    make_object,
)
from k3sfw_engine.model.rich_rules import RichRule, read_rule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.model.zone_bindings import Bindings
from k3sfw_engine.plan.desired.return_path import with_return_path
from k3sfw_engine.plan.kernel_drift import KernelFact, KernelRules, kernel_drift
from k3sfw_engine.plan.make_plan import make_plan, removal_plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import (
    ChangeEntries,
    RefillEntries,
    Reload,
    RemovePermanent,
    SetRuntime,
    WritePermanent,
)
from tests.unit.samples import NODES, RULE, changed, pillar, pillars, row, wanted

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
            rules = KernelRules(frozenset(facts)) if self.table else KernelRules(table=False)
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
    """Those of the packets that the objects let in."""
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


# -- where a host may start from ------------------------------------------------------------------


def settled(objects) -> Firewalld:
    """A host that has exactly these objects."""
    return Firewalld(dict(objects), dict(objects))


def ours(kind, name, **settings) -> FirewalldObject:
    described = {"description": f"K3s: by an older version ({digest(kind, name)})"}
    return make_object(kind, name, {**described, **settings})


def foreign(kind, name, **settings) -> FirewalldObject:
    return make_object(kind, name, {"description": "foreign", **settings})


OLD_SET = ours(
    Kind.IPSET,
    "k3s-group-old-4",
    type="hash:net",
    options=("family=inet",),
    entries=("198.18.0.0/24",),
)
OLD_RULE = RichRule(4, "k3s-group-old-4", "", Protocol.TCP, PortRange(22, 22))
OLD_ZONE = ours(Kind.ZONE, "k3s-old", interfaces=("old0",))
OLD_POLICY = ours(
    Kind.POLICY,
    "k3s-old-rows",
    priority=-500,
    ingress_zones=("k3s-old",),
    egress_zones=("HOST",),
    rich_rules=(OLD_RULE,),
)
HAND_RULE = RichRule(4, "", "203.0.113.99", Protocol.TCP, PortRange(22, 22))
LOGGED_RULE = read_rule('rule family="ipv4" source address="203.0.113.98" log accept')
STRANGERS = (
    foreign(Kind.IPSET, "k3smine", type="hash:net", entries=("203.0.113.0/24",)),
    foreign(Kind.POLICY, "k3s-mine", ingress_zones=("ANY",), egress_zones=("HOST",)),
)


def without(each, item):
    content = CONTENT[each.kind]
    return each.with_settings({content: tuple(x for x in each.content if x != item)})


def plus(each, item):
    content = CONTENT[each.kind]
    return each.with_settings({content: in_order((*each.content, item))})


def extra_items(each):
    """What an operator might add to an object by hand."""
    if each.kind is Kind.IPSET:
        return ["198.18.7.0/24"] if "family=inet" in each.items("options") else ["2001:db8:7::/48"]
    return ["eth9"] if each.kind is Kind.ZONE else [HAND_RULE, LOGGED_RULE]


@st.composite
def drifted(draw):
    """A host on which our rules came, went and were changed by hand, in every layer."""
    host = Firewalld()
    for _ in range(draw(st.integers(0, 2))):
        plan = make_plan(wanted(draw(pillars()), "server"), host.observed(kernel=False))
        list(host.run(plan))
    if draw(st.booleans()):
        for each in (OLD_SET, OLD_ZONE, OLD_POLICY):
            host.permanent[each.key] = host.runtime[each.key] = each
    if draw(st.booleans()):
        for each in STRANGERS:
            host.permanent[each.key] = host.runtime[each.key] = each
    for _ in range(draw(st.integers(0, 3))):
        change_by_hand(draw, host.permanent, runtime=False)
    try:
        host.refuse_unloadable()
    except Refused:
        pass
    else:
        if draw(st.booleans()):
            host.runtime = dict(host.permanent)
        for _ in range(draw(st.integers(0, 2))):
            change_by_hand(draw, host.permanent, runtime=False)
    for _ in range(draw(st.integers(0, 3))):
        change_by_hand(draw, host.runtime, runtime=True)
    damage = sorted(key for key, each in host.permanent.items() if is_ours(each))
    if damage and draw(st.integers(0, 4)) == 0:
        key = draw(st.sampled_from(damage))
        if key in host.runtime:
            host.damaged.add(key)
            del host.permanent[key]
    facts = sorted(kernel_facts({k: v for k, v in host.runtime.items() if is_ours(v)}))
    if facts:
        host.kernel_lost = draw(st.sets(st.sampled_from(facts), max_size=2))
    host.table = draw(st.integers(0, 9)) > 0
    return host


def change_by_hand(draw, layer, *, runtime):
    keys = sorted(key for key, each in layer.items() if is_ours(each))
    if not keys:
        return
    key = draw(st.sampled_from(keys))
    each = layer[key]
    items = each.content
    how = draw(st.sampled_from(["less", "less", "more", "settings", "gone"]))
    if how == "less" and items:
        layer[key] = without(each, draw(st.sampled_from(items)))
    elif how == "more":
        item = draw(st.sampled_from(extra_items(each)))
        if each.kind is not Kind.IPSET or not any(overlap(item, other) for other in items):
            layer[key] = plus(each, item)
    elif how == "settings" and each.kind is not Kind.IPSET:
        choices = [{"ports": ("22/tcp",)}, {"services": ("ssh",)}, {"masquerade": True}]
        if not runtime:
            choices += [{"target": "ACCEPT"}, {"short": "edited"}]
        layer[key] = each.with_settings(draw(st.sampled_from(choices)))
    elif how == "gone" and not runtime:
        del layer[key]


# -- properties -----------------------------------------------------------------------------------


@settings(max_examples=max(60, settings().max_examples))
@given(drifted(), pillars(), st.booleans())
def test_from_whatever_is_there_one_apply_leads_to_what_is_wanted(host, tree, kernel):
    target = wanted(tree)
    strangers = {key: each for key, each in host.permanent.items() if not is_ours(each)}
    if not kernel:
        host.kernel_lost, host.table = set(), True
    plan = make_plan(target, host.observed(kernel=kernel))
    list(host.run(plan))
    assert len(plan.reloads) <= 1
    left = make_plan(target, host.observed(kernel=kernel))
    assert left.differences == ()
    assert left.steps == ()
    # And so it is not only in the plan's own eyes.
    assert {key: each for key, each in host.permanent.items() if is_ours(each)} == target.objects
    assert {key: each for key, each in host.permanent.items() if not is_ours(each)} == strangers
    packets = packets_of(host.runtime, target.objects)
    assert accepted(host.runtime, packets) == accepted(target.objects, packets)
    host.refuse_unloadable()


@given(pillars(), pillars())
def test_what_is_open_before_and_after_is_open_all_the_time(old_tree, new_tree):
    old, new = wanted(old_tree), wanted(new_tree)
    host = settled(old.objects)
    packets = packets_of(old.objects, new.objects)
    always = accepted(old.objects, packets) & accepted(new.objects, packets)
    plan = make_plan(new, host.observed())
    for step in host.run(plan):
        assert not always - accepted(host.runtime, packets), step
    interfaces = [each.objects[Kind.ZONE, "k3s"].items("interfaces") for each in (old, new)]
    host = settled(old.objects)
    for step in host.run(plan):
        held = host.runtime[Kind.ZONE, "k3s"].items("interfaces")
        assert set(interfaces[0]) & set(interfaces[1]) <= set(held), step


@given(pillars(), pillars())
def test_no_change_of_the_tables_reloads(old_tree, new_tree):
    plan = make_plan(wanted(new_tree), settled(wanted(old_tree).objects).observed())
    assert plan.reloads == ()


@given(pillars(), pillars(), st.data())
def test_killed_after_any_step_the_configuration_loads_and_the_next_run_converges(old, new, data):
    host = settled(wanted(old).objects)
    if data.draw(st.booleans()):
        host.runtime = {}  # not yet reloaded
        del host.permanent[Kind.POLICY, "k3s-rows"]
    plan = make_plan(wanted(new), host.observed())
    stop = data.draw(st.integers(0, len(plan.steps)))
    for step in plan.steps[:stop]:
        host.carry_out(step)
        host.refuse_unloadable()
    if data.draw(st.booleans()):
        host.carry_out(Reload("the host was started again"))
    list(host.run(make_plan(wanted(new), host.observed())))
    assert make_plan(wanted(new), host.observed()).differences == ()


@given(pillars(), st.sampled_from(["server", "agent"]))
def test_the_plan_of_a_host_that_has_what_is_wanted_is_empty(tree, role):
    plan = make_plan(wanted(tree, role), settled(wanted(tree, role).objects).observed())
    assert (plan.steps, plan.differences, plan.notices, plan.reloads) == ((), (), (), ())


def difference(old, new):
    """``{object: {setting: {old, new}}}`` as a plan tells it, from two real states."""
    found = {}
    for key in {*old, *new}:
        before, after = old.get(key), new.get(key)
        title = f"{key[0].value} {key[1]}"
        if before is None or after is None:
            found[title] = {"old": told(before), "new": told(after)}
            continue
        for setting, value in after.settings.items():
            was = before.settings[setting]
            if was != value and isinstance(value, tuple):
                gone, come = (sorted(map(str, it)) for it in ({*was} - {*value}, {*value} - {*was}))
                found.setdefault(title, {})[setting] = {"old": gone, "new": come}
            elif was != value:
                found.setdefault(title, {})[setting] = {"old": was, "new": value}
    return found


def told(each):
    if each is None:
        return None
    empty = make_object(each.kind, each.name, {}).settings
    return {
        setting: [*map(str, value)] if isinstance(value, tuple) else value
        for setting, value in each.settings.items()
        if value != empty[setting]
    }


@given(drifted(), pillars())
def test_what_test_mode_tells_is_what_the_real_run_changes(host, tree):
    host.kernel_lost, host.table = set(), True
    plan = make_plan(wanted(tree), host.observed(kernel=False))
    before = {
        "runtime": {key: each for key, each in host.runtime.items() if is_ours(each)},
        "permanent": {key: each for key, each in host.permanent.items() if is_ours(each)},
    }
    list(host.run(plan))
    for layer, old in before.items():
        now = {
            key: each
            for key, each in (host.runtime if layer == "runtime" else host.permanent).items()
            # An unused ipset stays, empty, until the next reload.
            if is_ours(each) and (key in wanted(tree).objects or layer == "permanent")
        }
        told_of = {
            key: each
            for key, each in old.items()
            if layer == "permanent" or key in now or not is_empty_ipset(each)
        }
        assert as_changes(plan.differences).get(layer, {}) == difference(told_of, now)


def is_empty_ipset(each):
    return each.kind is Kind.IPSET and not each.items("entries")


# -- reloads --------------------------------------------------------------------------------------


def test_the_first_apply_on_a_host_costs_exactly_one_reload():
    host = Firewalld()
    plan = make_plan(wanted(), host.observed())
    assert len(plan.reloads) == 1
    assert [type(step) for step in plan.steps] == [WritePermanent] * 17 + [Reload]
    list(host.run(plan))
    assert host.runtime == host.permanent == wanted().objects


@pytest.mark.parametrize(
    ("path", "value", "steps"),
    [
        ("ports:cluster:kubelet:port", 10260, [SetRuntime, SetRuntime, WritePermanent]),
        ("ports:cluster:http:enabled", False, [SetRuntime, WritePermanent]),
        (
            "ports:manager:loki",
            {"protocol": "tcp", "port": 3100},
            [SetRuntime, WritePermanent],
        ),
        (
            "groups:admins",
            ["198.51.100.0/28", "203.0.113.7"],
            [ChangeEntries, WritePermanent],
        ),
        (
            "nodes:a9",
            {"role": "agent", "addresses": ["192.0.2.29"]},
            [ChangeEntries, ChangeEntries, WritePermanent, WritePermanent],
        ),
        (
            "nodes:a2",
            {"role": "agent", "addresses": ["192.0.2.99"]},
            [ChangeEntries] * 4 + [WritePermanent] * 2,
        ),
        (
            "nodes:a2",
            {"role": "server", "addresses": ["192.0.2.22"]},
            [ChangeEntries] * 2 + [WritePermanent] * 2,
        ),
        # The ipsets of a new group do not exist at runtime; nothing there needs them yet.
        ("groups:office", ["203.0.113.0/24"], [WritePermanent] * 2),
    ],
    ids=["port", "row off", "row on", "member", "join", "new address", "new role", "new group"],
)
def test_a_later_change_takes_these_steps_and_no_reload(path, value, steps):
    host = settled(wanted().objects)
    plan = make_plan(wanted(changed(path, value)), host.observed())
    assert sorted(type(step).__name__ for step in plan.steps) == sorted(
        step.__name__ for step in steps
    )
    assert plan.reloads == ()


NEW_GROUP = changed("groups:office", ["203.0.113.0/24", "2001:db8:a::/48"])
NEW_GROUP["ports"]["manager"]["grafana"]["source"] = "office"


def test_a_new_group_opens_at_once_by_its_addresses_and_by_its_ipset_after_a_reload():
    host = settled(wanted().objects)
    plan = make_plan(wanted(NEW_GROUP), host.observed())
    assert plan.reloads == ()
    list(host.run(plan))
    runtime = [*map(str, host.runtime[Kind.POLICY, "k3s-rows"].rules)]
    permanent = [*map(str, host.permanent[Kind.POLICY, "k3s-rows"].rules)]
    by = 'rule family="ipv4" source {} port port="3000" protocol="tcp" accept'.format
    assert by('address="203.0.113.0/24"') in runtime
    assert by('ipset="k3s-group-office-4"') in permanent
    assert make_plan(wanted(NEW_GROUP), host.observed()).differences == ()
    host.carry_out(Reload("foreign"))
    assert make_plan(wanted(NEW_GROUP), host.observed()).differences == ()


def test_a_new_group_that_meets_another_reason_to_reload_converges_in_one_run():
    host = settled(wanted().objects)
    list(host.run(make_plan(wanted(NEW_GROUP), host.observed())))
    host.table = False  # nft flush ruleset
    list(host.run(make_plan(wanted(NEW_GROUP), host.observed())))
    assert make_plan(wanted(NEW_GROUP), host.observed()).differences == ()


def test_a_group_that_was_new_can_go_again_without_a_reload():
    host = settled(wanted().objects)
    for tree in (NEW_GROUP, pillar()):
        plan = make_plan(wanted(tree), host.observed())
        assert plan.reloads == ()
        list(host.run(plan))
    assert host.runtime == host.permanent == wanted().objects


def test_a_new_group_of_many_addresses_costs_one_reload_at_most():
    many = [f"198.18.{number}.0/24" for number in range(100)]
    tree = changed("groups:office", many)
    tree["ports"]["manager"]["grafana"]["source"] = "office"
    host = settled(wanted().objects)
    plan = make_plan(wanted(tree), host.observed())
    assert len(plan.reloads) <= 1
    list(host.run(plan))
    assert make_plan(wanted(tree), host.observed()).differences == ()


@pytest.mark.parametrize("backend", ["vxlan", "host-gw", "none"])
@pytest.mark.parametrize("name", ["k3s-node-4", "k3s-node-6", "k3s-server-4"])
def test_an_ipset_that_runtime_lacks_is_made_up_for_without_naming_it(backend, name):
    target = wanted(pillar(flannel_backend=backend))
    host = settled(target.objects)
    del host.permanent[Kind.IPSET, name]
    for key, each in host.permanent.items():
        for rule in each.rules:
            if name == rule.ipset:
                host.permanent[key] = without(host.permanent[key], rule)
    host.carry_out(Reload("foreign"))
    list(host.run(make_plan(target, host.observed())))
    assert make_plan(target, host.observed()).differences == ()


@pytest.mark.parametrize(
    ("fact", "reloads"),
    [
        (KernelFact(Kind.IPSET, "k3s-server-4", "entries", "192.0.2.11"), 0),
        (KernelFact(Kind.IPSET, "k3s-server-4", "ipset", "exists"), 1),
        (KernelFact(Kind.ZONE, "k3s", "entered by", "cni0"), 1),
        (KernelFact(Kind.POLICY, "k3s-rows", "entered by", "any"), 1),
        (KernelFact(Kind.POLICY, "k3s-pods-to-host", "target", "ACCEPT"), 1),
    ],
)
def test_what_the_kernel_lost_comes_back(fact, reloads):
    host = settled(wanted().objects)
    host.kernel_lost = {fact}
    plan = make_plan(wanted(), host.observed())
    assert {each.layer for each in plan.differences} == {"kernel"}
    assert len(plan.reloads) == reloads
    list(host.run(plan))
    assert make_plan(wanted(), host.observed()).differences == ()


def test_entries_that_somebody_added_in_the_kernel_go_without_a_reload():
    host = settled(wanted().objects)
    host.kernel_extra = {KernelFact(Kind.IPSET, "k3s-server-4", "entries", "203.0.113.66")}
    plan = make_plan(wanted(), host.observed())
    assert [type(step) for step in plan.steps] == [RefillEntries]


def test_firewalls_table_is_made_before_the_reload_where_somebody_flushed_it():
    host = settled(wanted().objects)
    host.table = False
    plan = make_plan(wanted(), host.observed())
    assert plan.steps == (Reload(plan.reloads[0], restore_table=True),)


def test_without_a_view_of_the_kernel_nothing_is_said_to_differ_there():
    host = settled(wanted().objects)
    assert make_plan(wanted(), host.observed(kernel=False)).differences == ()


# -- ipsets ---------------------------------------------------------------------------------------


def test_entries_change_one_by_one_the_new_ones_first():
    after = changed("nodes:a2:addresses", ["192.0.2.99"])
    plan = make_plan(wanted(after), settled(wanted().objects).observed())
    assert [step for step in plan.steps if not isinstance(step, WritePermanent)] == [
        ChangeEntries("k3s-agent-4", add=("192.0.2.99",)),
        ChangeEntries("k3s-node-4", add=("192.0.2.99",)),
        ChangeEntries("k3s-node-4", remove=("192.0.2.22",)),
        ChangeEntries("k3s-agent-4", remove=("192.0.2.22",)),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["198.51.100.0/28"], ["198.51.100.0/24"]),
        (["198.51.100.0/24"], ["198.51.100.0/28"]),
        (["198.51.100.0/25"], ["198.51.100.0/24", "203.0.113.0/24"]),
        (["2001:db8:a::/48"], ["2001:db8:a:1::/64", "2001:db8:a:2::/64"]),
    ],
)
def test_an_entry_that_gives_way_to_one_that_overlaps_it_is_exchanged_in_one_go(before, after):
    old, new = (wanted(changed("groups:admins", members)) for members in (before, after))
    host = settled(old.objects)
    plan = make_plan(new, host.observed())
    assert RefillEntries in {type(step) for step in plan.steps}
    list(host.run(plan))
    assert host.runtime == new.objects


def test_a_set_that_is_not_touched_is_never_refilled():
    plan = make_plan(
        wanted(changed("groups:admins", ["198.51.100.0/24"])), settled(wanted().objects).observed()
    )
    names = {step.name for step in plan.steps if isinstance(step, (RefillEntries, ChangeEntries))}
    assert names == {"k3s-group-admins-4"}


MANY = [f"198.18.{number}.0/24" for number in range(250)]


@pytest.mark.parametrize(
    ("before", "after"),
    [(MANY, ["0.0.0.0/0", "::/0"]), (["0.0.0.0/0", "::/0"], MANY), (MANY, MANY[:10])],
    ids=["to everyone", "from everyone", "to a few"],
)
def test_a_large_group_is_widened_and_narrowed_without_a_gap(before, after):
    old, new = (wanted(changed("groups:clients", members)) for members in (before, after))
    host = settled(old.objects)
    packets = packets_of(old.objects, new.objects)
    always = accepted(old.objects, packets) & accepted(new.objects, packets)
    for step in host.run(make_plan(new, host.observed())):
        assert not always - accepted(host.runtime, packets), step


# -- what is not ours -----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["runtime", "permanent"])
@pytest.mark.parametrize(
    "stranger",
    [
        foreign(Kind.ZONE, "k3s", interfaces=("eth5",)),
        foreign(Kind.POLICY, "k3s-rows", target="DROP"),
        foreign(Kind.IPSET, "k3s-node-4", type="hash:net"),
    ],
    ids=["zone", "policy", "ipset"],
)
def test_a_strangers_object_of_a_name_that_we_need_is_refused_and_left_alone(stranger, layer):
    host = Firewalld()
    getattr(host, layer)[stranger.key] = stranger
    with pytest.raises(ForeignObject) as refused:
        make_plan(wanted(), host.observed())
    (sentence,) = refused.value.sentences
    assert f"the {layer} {stranger.kind.value} {stranger.name} " in sentence
    assert "Fix: " in sentence


@pytest.mark.parametrize("stranger", STRANGERS, ids=["ipset", "policy"])
@pytest.mark.parametrize("kernel", [False, True])
def test_a_strangers_object_whose_name_only_begins_like_ours_is_nobodys_matter(stranger, kernel):
    host = settled(wanted().objects)
    host.runtime[stranger.key] = host.permanent[stranger.key] = stranger
    for tree in (pillar(), changed("ports:cluster:kubelet:port", 10260), pillar()):
        plan = make_plan(wanted(tree), host.observed(kernel=kernel))
        assert stranger.name not in str((plan.differences, plan.steps))
        list(host.run(plan))
        assert make_plan(wanted(tree), host.observed(kernel=kernel)).differences == ()
    assert host.runtime[stranger.key] == host.permanent[stranger.key] == stranger


def test_an_interface_that_somebody_bound_to_a_zone_of_his_own_stays_there():
    host = Firewalld(interface_zones={"cni0": "trusted", "eth0": "public"})
    plan = make_plan(wanted(), host.observed())
    list(host.run(plan))
    assert host.runtime[Kind.ZONE, "k3s"].items("interfaces") == ("flannel-v6.1", "flannel.1")
    (notice,) = plan.notices
    assert notice.startswith("interface cni0 is bound to zone trusted, not by k3sfw")
    again = make_plan(wanted(), host.observed())
    assert (again.differences, again.notices) == ((), plan.notices)


def test_a_zone_that_is_permanently_gone_is_named_by_no_permanent_policy():
    # firewalld would not load its configuration any more: INVALID_ZONE.
    host = settled(wanted().objects)
    host.interface_zones = {"cni0": "office"}
    observed = replace(host.observed(), zones=frozenset())
    list(host.run(make_plan(wanted(), observed)))
    assert host.permanent[Kind.POLICY, "k3s-bound-to-any"].items("ingress_zones") == ()
    assert host.runtime[Kind.POLICY, "k3s-bound-to-any"].items("ingress_zones") == ("office",)


def test_pods_that_somebody_bound_while_all_was_settled_are_let_in_without_a_reload():
    host = settled(wanted().objects)
    host.interface_zones = {"cni0": "office", "eth1": "office"}
    plan = make_plan(wanted(), host.observed())
    assert plan.reloads == ()
    assert "are accepted from eth1 too" in plan.notices[0]
    list(host.run(plan))
    for layer in (host.runtime, host.permanent):
        assert layer[Kind.POLICY, "k3s-bound-to-host"].items("ingress_zones") == ("office",)
    assert make_plan(wanted(), host.observed()).differences == ()
    host.interface_zones = {}
    list(host.run(make_plan(wanted(), host.observed())))
    assert host.runtime == host.permanent == wanted().objects


def test_an_interface_that_is_elsewhere_only_at_runtime_stays_ours_permanently():
    """The next reload brings it back, and pods must not be in no zone then."""
    host = settled(wanted().objects)
    zone = host.runtime[Kind.ZONE, "k3s"]
    host.runtime[zone.key] = zone.with_settings({"interfaces": ("flannel-v6.1", "flannel.1")})
    observed = replace(
        host.observed(kernel=False),
        bindings={"runtime": Bindings({"cni0": "office"}), "permanent": Bindings()},
        zones=frozenset({"office"}),
    )
    plan = make_plan(wanted(), observed)
    assert {each.subject for each in plan.differences} == {
        (Kind.POLICY, "k3s-bound-to-host"),
        (Kind.POLICY, "k3s-bound-to-any"),
    }


def test_our_own_zone_is_not_somebody_else():
    host = settled(wanted().objects)
    host.interface_zones = {"eth0": "public"}
    observed = host.observed()
    bindings = dict.fromkeys(observed.bindings, Bindings({"eth0": "public", "cni0": "k3s"}))
    observed = Observed(observed.runtime, observed.permanent, bindings=bindings)
    assert make_plan(wanted(), observed).notices == ()


def test_an_interface_that_strayed_into_our_zone_at_runtime_does_not_stop_a_reload():
    # firewalld 1.3.3 refuses to write it down: ZONE_CONFLICT.
    host = settled(wanted().objects)
    host.runtime[Kind.ZONE, "k3s"] = plus(host.runtime[Kind.ZONE, "k3s"], "eth1")
    observed = host.observed()
    host.interface_zones = {"eth1": "public"}
    host.table = False
    plan = make_plan(
        wanted(),
        Observed(
            observed.runtime,
            observed.permanent,
            bindings={
                "runtime": Bindings({"eth1": "k3s"}),
                "permanent": Bindings({"eth1": "public"}),
            },
            kernel=KernelRules(table=False),
        ),
    )
    list(host.run(plan))
    assert host.runtime == wanted().objects


def test_a_rule_in_force_whose_ipset_is_permanently_gone_does_not_break_the_reload():
    # firewalld 1.3.3: INVALID_IPSET, state FAILED, the table empty.
    host = settled(wanted().objects)
    host.runtime[OLD_SET.key] = OLD_SET
    rows = host.runtime[Kind.POLICY, "k3s-rows"]
    host.runtime[rows.key] = plus(rows, OLD_RULE)
    host.table = False
    list(host.run(make_plan(wanted(), host.observed())))
    assert host.runtime == host.permanent == wanted().objects


# -- files that cannot be read --------------------------------------------------------------------


def test_a_damaged_file_of_ours_is_written_anew():
    host = settled(wanted().objects)
    key = (Kind.POLICY, "k3s-rows")
    del host.permanent[key]
    host.damaged = {key}
    plan = make_plan(wanted(), host.observed())
    assert plan.steps == (WritePermanent(wanted().objects[key], exists=False),)


def test_a_damaged_file_that_may_be_anybodys_is_refused_with_the_mend():
    host = Firewalld(damaged={(Kind.ZONE, "k3s")})
    with pytest.raises(ForeignObject, match="permanent zone k3s cannot be read.*Fix: look at its"):
        make_plan(wanted(), host.observed())


def test_a_damaged_file_that_we_have_a_copy_of_is_ours_whatever_firewalld_has_of_it():
    key = (Kind.ZONE, "k3s")
    observed = replace(Firewalld(damaged={key}).observed(), kept=frozenset({key}))
    plan = make_plan(wanted(), observed)
    assert WritePermanent(wanted().objects[key], exists=False) in plan.steps
    assert RemovePermanent(key) in removal_plan(observed).steps


# -- members, return path, removal ----------------------------------------------------------------


def test_an_unsure_membership_narrows_nothing_and_says_no_change():
    alone = wanted(pillar(nodes={"s1": NODES["s1"]}, firewall={}))
    plan = make_plan(alone, settled(wanted().objects).observed(), narrow=False)
    assert (plan.differences, plan.steps) == ((), ())


@pytest.mark.parametrize("role", ["server", "agent"])
def test_an_unsure_membership_closes_nothing_to_those_it_does_not_list(role):
    name = f"{role[0]}1"
    nodes = {name: {"role": role, "addresses": NODES[name]["addresses"][:1]}}
    tree = changed("ports:cluster:agents-only", row("tcp", 7946, "agent", "any"))
    before = wanted(tree, role)
    host = settled(before.objects)
    packets = packets_of(before.objects)
    target = wanted({**tree, "nodes": nodes, "firewall": {}}, role)
    list(host.run(make_plan(target, host.observed(), narrow=False)))
    assert not accepted(before.objects, packets) - accepted(host.runtime, packets)
    assert make_plan(target, host.observed(), narrow=False).differences == ()


RETURNING = with_return_path(wanted(), [netaddr.IPAddress("203.0.113.5")], [4505, 4506])


def test_the_return_path_of_a_first_start_is_no_difference_and_stays():
    host = settled(RETURNING.objects)
    assert make_plan(wanted(), host.observed()).differences == ()
    list(host.run(make_plan(wanted(NEW_GROUP), host.observed())))
    assert (Kind.POLICY, "k3s-return-path") in host.permanent


@given(drifted())
def test_removal_takes_everything_of_ours_away_and_nothing_else(host):
    host.kernel_lost, host.table = set(), True
    strangers = {key: each for key, each in host.permanent.items() if not is_ours(each)}
    plan = removal_plan(host.observed())
    list(host.run(plan))
    assert host.permanent == strangers
    assert len(plan.reloads) <= 1
    again = removal_plan(host.observed())
    assert (again.steps, again.differences) == ((), ())


def test_objects_of_an_older_version_go_in_an_order_that_loads_after_every_step():
    host = settled(wanted().objects)
    for each in (OLD_SET, OLD_POLICY, OLD_ZONE):
        host.permanent[each.key] = each
    plan = make_plan(wanted(), host.observed())
    assert plan.reloads == ()
    for _step in host.run(plan):
        host.refuse_unloadable()
    assert host.permanent == wanted().objects


def test_removal_takes_the_return_path_too():
    host = settled(RETURNING.objects)
    list(host.run(removal_plan(host.observed())))
    assert (host.runtime, host.permanent) == ({}, {})


def test_removal_deletes_what_refers_before_what_is_referred_to():
    host = settled(RETURNING.objects)
    plan = removal_plan(host.observed())
    kinds = [step.key[0] for step in plan.steps if isinstance(step, RemovePermanent)]
    assert kinds == sorted(kinds, key=[Kind.POLICY, Kind.ZONE, Kind.IPSET].index)
    assert [type(step) for step in plan.steps].count(Reload) == 1
    for _step in host.run(plan):
        host.refuse_unloadable()


def test_removal_of_what_only_stands_in_files_needs_no_reload():
    host = Firewalld(permanent=dict(wanted().objects))
    plan = removal_plan(host.observed())
    assert plan.reloads == ()
    assert {each.layer for each in plan.differences} == {"permanent"}


def test_the_model_knows_the_grammar_of_rules():
    for rule in wanted().objects[Kind.POLICY, "k3s-rows"].rules:
        assert RULE.fullmatch(str(rule))
    with pytest.raises(Refused):
        refuse_rules(ours(Kind.POLICY, "k3s-x", rich_rules=(RichRule(4),)))
