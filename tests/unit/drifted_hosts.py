"""Hosts as an apply may find them: settled, drifted in any layer, with objects of others."""

from __future__ import annotations

from hypothesis import strategies as st

from k3sfw_engine.model.firewall_objects import (
    CONTENT,
    FirewalldObject,
    Kind,
    digest,
    in_order,
    is_ours,
    make_object,
)
from k3sfw_engine.model.rich_rules import RichRule, read_rule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.plan.make_plan import make_plan
from tests.unit.firewalld_model import (
    Firewalld,
    Refused,
    kernel_facts,
    overlap,
)
from tests.unit.samples import changed, pillars, wanted

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


# A group that is new, and a row for it.
NEW_GROUP = changed("groups:office", ["203.0.113.0/24", "2001:db8:a::/48"])
NEW_GROUP["ports"]["manager"]["grafana"]["source"] = "office"
