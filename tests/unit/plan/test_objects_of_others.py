"""Objects that k3sfw did not create are left alone, and unreadable files are not assumed ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3sfw_engine.errors import ForeignObject
from k3sfw_engine.model.firewall_objects import (
    Kind,
)
from k3sfw_engine.model.zone_bindings import Bindings
from k3sfw_engine.plan.kernel_drift import KernelRules
from k3sfw_engine.plan.make_plan import make_plan, removal_plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import (
    RemovePermanent,
    WritePermanent,
)
from tests.unit.drifted_hosts import (
    OLD_RULE,
    OLD_SET,
    STRANGERS,
    foreign,
    plus,
    settled,
)
from tests.unit.firewalld_model import (
    Firewalld,
)
from tests.unit.samples import changed, pillar, wanted

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
def test_an_object_of_others_with_a_name_that_we_need_is_refused_and_left_alone(stranger, layer):
    host = Firewalld()
    getattr(host, layer)[stranger.key] = stranger
    with pytest.raises(ForeignObject) as refused:
        make_plan(wanted(), host.observed())
    (sentence,) = refused.value.sentences
    assert f"the {layer} {stranger.kind.value} {stranger.name} " in sentence
    assert "Fix: " in sentence


@pytest.mark.parametrize("stranger", STRANGERS, ids=["ipset", "policy"])
@pytest.mark.parametrize("kernel", [False, True])
def test_an_object_of_others_whose_name_only_begins_like_ours_is_ignored(stranger, kernel):
    host = settled(wanted().objects)
    host.runtime[stranger.key] = host.permanent[stranger.key] = stranger
    for tree in (pillar(), changed("ports:cluster:kubelet:port", 10260), pillar()):
        plan = make_plan(wanted(tree), host.observed(kernel=kernel))
        assert stranger.name not in str((plan.differences, plan.steps))
        list(host.run(plan))
        assert make_plan(wanted(tree), host.observed(kernel=kernel)).differences == ()
    assert host.runtime[stranger.key] == host.permanent[stranger.key] == stranger


def test_an_interface_bound_to_another_zone_stays_there():
    host = Firewalld(interface_zones={"cni0": "trusted", "eth0": "public"})
    plan = make_plan(wanted(), host.observed())
    list(host.run(plan))
    assert host.runtime[Kind.ZONE, "k3s"].items("interfaces") == ("flannel-v6.1", "flannel.1")
    (notice,) = plan.notices
    assert notice.startswith("interface cni0 is bound to zone trusted, not by k3sfw")
    again = make_plan(wanted(), host.observed())
    assert (again.differences, again.notices) == ((), plan.notices)


def test_a_permanent_policy_never_refers_to_a_zone_that_is_permanently_gone():
    # firewalld would not load its configuration any more: INVALID_ZONE.
    host = settled(wanted().objects)
    host.interface_zones = {"cni0": "office"}
    observed = replace(host.observed(), zones=frozenset())
    list(host.run(make_plan(wanted(), observed)))
    assert host.permanent[Kind.POLICY, "k3s-bound-to-any"].items("ingress_zones") == ()
    assert host.runtime[Kind.POLICY, "k3s-bound-to-any"].items("ingress_zones") == ("office",)


def test_pods_bound_to_another_zone_later_are_accepted_without_a_reload():
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


def test_an_interface_bound_elsewhere_only_at_runtime_stays_ours_permanently():
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


def test_our_own_zone_is_not_another_zone():
    host = settled(wanted().objects)
    host.interface_zones = {"eth0": "public"}
    observed = host.observed()
    bindings = dict.fromkeys(observed.bindings, Bindings({"eth0": "public", "cni0": "k3s"}))
    observed = Observed(observed.runtime, observed.permanent, bindings=bindings)
    assert make_plan(wanted(), observed).notices == ()


def test_a_foreign_interface_in_our_zone_at_runtime_does_not_prevent_a_reload():
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


def test_a_runtime_rule_without_a_permanent_ipset_does_not_break_the_reload():
    # firewalld 1.3.3: INVALID_IPSET, state FAILED, the table empty.
    host = settled(wanted().objects)
    host.runtime[OLD_SET.key] = OLD_SET
    rows = host.runtime[Kind.POLICY, "k3s-rows"]
    host.runtime[rows.key] = plus(rows, OLD_RULE)
    host.table = False
    list(host.run(make_plan(wanted(), host.observed())))
    assert host.runtime == host.permanent == wanted().objects


# -- files that cannot be read --------------------------------------------------------------------


def test_a_damaged_file_of_ours_is_rewritten():
    host = settled(wanted().objects)
    key = (Kind.POLICY, "k3s-rows")
    del host.permanent[key]
    host.damaged = {key}
    plan = make_plan(wanted(), host.observed())
    assert plan.steps == (WritePermanent(wanted().objects[key], exists=False),)


def test_a_damaged_file_of_unknown_origin_is_refused_with_its_fix():
    host = Firewalld(damaged={(Kind.ZONE, "k3s")})
    with pytest.raises(ForeignObject, match="zone k3s cannot be read.*Fix: correct its file"):
        make_plan(wanted(), host.observed())


def test_a_damaged_file_with_a_copy_is_ours():
    key = (Kind.ZONE, "k3s")
    observed = replace(Firewalld(damaged={key}).observed(), kept=frozenset({key}))
    plan = make_plan(wanted(), observed)
    assert WritePermanent(wanted().objects[key], exists=False) in plan.steps
    assert RemovePermanent(key) in removal_plan(observed).steps
