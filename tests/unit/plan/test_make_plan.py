"""The steps of a plan lead from any state to the wanted one, and close nothing on the way."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest
from hypothesis import given, settings, strategies as st

from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.firewall_objects import (
    Kind,
    is_ours,
    make_object,
)
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.plan import messages
from k3sfw_engine.plan.desired.kept_paths import keep_paths_of_pods
from k3sfw_engine.plan.desired.return_path import with_return_path
from k3sfw_engine.plan.kernel_drift import KernelFact
from k3sfw_engine.plan.make_plan import make_plan, removal_plan
from k3sfw_engine.plan.steps import (
    ChangeEntries,
    RefillEntries,
    Reload,
    RemovePermanent,
    SetRuntime,
    WritePermanent,
)
from tests.unit.drifted_hosts import (
    NEW_GROUP,
    OLD_POLICY,
    OLD_SET,
    OLD_ZONE,
    drifted,
    ours,
    settled,
    without,
)
from tests.unit.firewalld_model import (
    Firewalld,
    Refused,
    accepted,
    packets_of,
    refuse_rules,
)
from tests.unit.samples import NODES, RULE, changed, pillar, pillars, row, wanted

POD_ZONE = (Kind.ZONE, "k3s")

# -- properties -----------------------------------------------------------------------------------


@settings(max_examples=max(60, settings().max_examples))
@given(drifted(), pillars(), st.booleans())
def test_one_apply_leads_from_any_state_to_the_wanted_one(host, tree, kernel):
    target = keep_paths_of_pods(wanted(tree), host.permanent)
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
def test_whatever_is_open_before_and_after_is_open_all_the_time(old_tree, new_tree):
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
def test_the_plan_of_a_converged_host_is_empty(tree, role):
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
def test_test_mode_reports_exactly_what_a_real_run_changes(host, tree):
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


def test_a_new_group_opens_at_once_by_addresses_and_after_a_reload_by_its_ipset():
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


def test_a_new_group_can_be_removed_again_without_a_reload():
    host = settled(wanted().objects)
    for tree in (NEW_GROUP, pillar()):
        plan = make_plan(wanted(tree), host.observed())
        assert plan.reloads == ()
        list(host.run(plan))
    assert host.runtime == host.permanent == wanted().objects


def test_a_new_group_of_many_addresses_costs_at_most_one_reload():
    many = [f"198.18.{number}.0/24" for number in range(100)]
    tree = changed("groups:office", many)
    tree["ports"]["manager"]["grafana"]["source"] = "office"
    host = settled(wanted().objects)
    plan = make_plan(wanted(tree), host.observed())
    assert len(plan.reloads) <= 1
    list(host.run(plan))
    assert make_plan(wanted(tree), host.observed()).differences == ()


def many_rows(count):
    tree = pillar()
    rows = {f"row{at}": {"protocol": "tcp", "port": 20000 + at} for at in range(count)}
    tree["ports"]["manager"].update(rows)
    return tree


@pytest.mark.parametrize("less", [True, False])
def test_many_rules_come_with_a_reload_only_where_it_costs_less(less):
    asked = []
    host = settled(wanted().objects)
    plan = make_plan(
        wanted(many_rows(30)),
        host.observed(),
        reload_costs_less=lambda rules: asked.append(rules) or less,
    )
    assert asked == [60]  # one for each family
    assert len(plan.reloads) == less
    assert any(isinstance(step, SetRuntime) for step in plan.steps) is not less
    list(host.run(plan))
    assert host.runtime == host.permanent == wanted(many_rows(30)).objects


def test_few_rules_never_come_with_a_reload():
    host = settled(wanted().objects)
    few = wanted(many_rows(25))
    assert make_plan(few, host.observed(), reload_costs_less=lambda _rules: True).reloads == ()


@pytest.mark.parametrize("backend", ["vxlan", "host-gw", "none"])
@pytest.mark.parametrize("name", ["k3s-node-4", "k3s-node-6", "k3s-server-4"])
def test_an_ipset_that_runtime_lacks_is_replaced_by_its_addresses(backend, name):
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
def test_rules_that_the_kernel_lost_are_restored(fact, reloads):
    host = settled(wanted().objects)
    host.kernel_lost = {fact}
    plan = make_plan(wanted(), host.observed())
    assert {each.layer for each in plan.differences} == {"kernel"}
    assert len(plan.reloads) == reloads
    list(host.run(plan))
    assert make_plan(wanted(), host.observed()).differences == ()


def test_entries_added_in_the_kernel_are_removed_without_a_reload():
    host = settled(wanted().objects)
    host.kernel_extra = {KernelFact(Kind.IPSET, "k3s-server-4", "entries", "203.0.113.66")}
    plan = make_plan(wanted(), host.observed())
    assert [type(step) for step in plan.steps] == [RefillEntries]


def test_a_flushed_table_is_created_before_the_reload():
    host = settled(wanted().objects)
    host.table = False
    plan = make_plan(wanted(), host.observed())
    assert plan.steps == (Reload(plan.reloads[0], restore_table=True),)


def of_an_older_version(*, other_zones_drop):
    """A host whose zone k3s has the default target, in both layers."""
    objects = dict(wanted().objects)
    objects[POD_ZONE] = objects[POD_ZONE].with_settings({"target": "default"})
    return settled(objects), {"other_zones_drop": other_zones_drop}


def test_the_target_of_an_older_version_is_replaced_permanently_and_costs_no_reload():
    host, zones = of_an_older_version(other_zones_drop=False)
    plan = make_plan(wanted(), replace(host.observed(), **zones))
    assert as_changes(plan.differences) == {
        "permanent": {"zone k3s": {"target": {"old": "default", "new": "DROP"}}}
    }
    assert plan.steps == (WritePermanent(wanted().objects[POD_ZONE], exists=True),)
    list(host.run(plan))
    assert make_plan(wanted(), replace(host.observed(), **zones)).differences == ()
    # The next reload, for whatever reason, brings it.
    host.kernel_lost = {KernelFact(*POD_ZONE, "entered by", "cni0")}
    plan = make_plan(wanted(), replace(host.observed(), **zones))
    assert plan.reloads == (messages.OTHER_KERNEL_RULES,)
    list(host.run(plan))
    assert host.runtime[POD_ZONE].settings["target"] == "DROP"


def test_where_all_other_zones_drop_the_last_one_follows_at_once():
    host, zones = of_an_older_version(other_zones_drop=True)
    plan = make_plan(wanted(), replace(host.observed(), **zones))
    change = {"zone k3s": {"target": {"old": "default", "new": "DROP"}}}
    assert as_changes(plan.differences) == {"permanent": change, "runtime": change}
    assert plan.reloads == (messages.fixed_settings(["target of zone k3s"]),)
    list(host.run(plan))
    assert make_plan(wanted(), replace(host.observed(), **zones)).differences == ()


@pytest.mark.parametrize("target", ["ACCEPT", "REJECT"])
def test_any_other_target_is_drift_that_is_worth_a_reload(target):
    host = settled(wanted().objects)
    host.runtime[POD_ZONE] = host.runtime[POD_ZONE].with_settings({"target": target})
    plan = make_plan(wanted(), host.observed())
    assert len(plan.reloads) == 1
    assert as_changes(plan.differences)["runtime"]["zone k3s"]["target"]["old"] == target


def test_without_the_kernels_rules_there_is_no_drift():
    host = settled(wanted().objects)
    assert make_plan(wanted(), host.observed(kernel=False)).differences == ()


# -- members, return path, removal ----------------------------------------------------------------


def test_an_unsure_node_list_narrows_nothing_and_reports_no_change():
    alone = wanted(pillar(nodes={"s1": NODES["s1"]}, firewall={}))
    plan = make_plan(alone, settled(wanted().objects).observed(), narrow=False)
    assert (plan.differences, plan.steps) == ((), ())


@pytest.mark.parametrize("role", ["server", "agent"])
def test_an_unsure_node_list_closes_nothing_to_nodes_that_it_lacks(role):
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


def test_the_return_path_of_a_first_start_is_not_a_difference_and_stays():
    host = settled(RETURNING.objects)
    assert make_plan(wanted(), host.observed()).differences == ()
    list(host.run(make_plan(wanted(NEW_GROUP), host.observed())))
    assert (Kind.POLICY, "k3s-return-path") in host.permanent


@given(drifted())
def test_removal_deletes_everything_of_ours_and_nothing_else(host):
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


def test_removal_deletes_the_return_path_too():
    host = settled(RETURNING.objects)
    list(host.run(removal_plan(host.observed())))
    assert (host.runtime, host.permanent) == ({}, {})


def test_removal_deletes_an_object_before_those_it_refers_to():
    host = settled(RETURNING.objects)
    plan = removal_plan(host.observed())
    kinds = [step.key[0] for step in plan.steps if isinstance(step, RemovePermanent)]
    assert kinds == sorted(kinds, key=[Kind.POLICY, Kind.ZONE, Kind.IPSET].index)
    assert [type(step) for step in plan.steps].count(Reload) == 1
    for _step in host.run(plan):
        host.refuse_unloadable()


def test_removal_empties_ipsets_that_outlived_its_reload():
    host = settled(wanted().objects)
    host.runtime = {key: each for key, each in host.runtime.items() if key[0] is Kind.IPSET}
    host.permanent = {}
    plan = removal_plan(host.observed())
    assert plan.reloads == ()
    assert {type(step) for step in plan.steps} == {RefillEntries}
    list(host.run(plan))
    assert not any(each.items("entries") for each in host.runtime.values())
    again = removal_plan(host.observed())
    assert (again.steps, again.differences) == ((), ())


def test_removal_of_objects_that_exist_only_in_files_needs_no_reload():
    host = Firewalld(permanent=dict(wanted().objects))
    plan = removal_plan(host.observed())
    assert plan.reloads == ()
    assert {each.layer for each in plan.differences} == {"permanent"}


def test_the_model_knows_the_grammar_of_rules():
    for rule in wanted().objects[Kind.POLICY, "k3s-rows"].rules:
        assert RULE.fullmatch(str(rule))
    with pytest.raises(Refused):
        refuse_rules(ours(Kind.POLICY, "k3s-x", rich_rules=(RichRule(4),)))
