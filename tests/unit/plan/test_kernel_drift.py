"""The kernel's rules are compared with those that the runtime objects must have made."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given

from k3sfw_engine.firewalld.kernel_rules import accepted_by_zone, parse_nft_listing
from k3sfw_engine.model.difference import Difference
from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.model.rich_rules import read_rule
from k3sfw_engine.plan.kernel_drift import KernelDrift, KernelFact, KernelRules, kernel_drift
from tests.unit.nft_listings import LISTING, RUNTIME
from tests.unit.samples import RICH_RULES, changed, wanted

NODE_SET = "k3s-node-4"


def read(items):
    return parse_nft_listing(json.dumps({"nftables": items}))


def drift(items, runtime=RUNTIME):
    return kernel_drift(read(items), runtime)


def rule(chain, *expressions):
    return {"rule": {"family": "inet", "table": "firewalld", "chain": chain, "expr": expressions}}


def listing(*more, without=()):
    items = [item for item in LISTING["nftables"] if item not in without]
    return [*copy.deepcopy(items), *more]


def rules_in(chain):
    return [item for item in LISTING["nftables"] if item.get("rule", {}).get("chain") == chain]


def match(protocol, name, right):
    left = {"payload": {"protocol": protocol, "field": name}}
    return {"match": {"op": "==", "left": left, "right": right}}


ACCEPT, DROP = {"accept": None}, {"drop": None}
ETCD = 'rule family="ipv4" source ipset="k3s-server-4" port port="2379-2380" protocol="tcp" accept'
ROWS_ALLOW = "filter_IN_policy_k3s-rows_allow"


def test_a_real_listing_of_what_is_wanted_shows_no_drift():
    assert drift(listing()) == KernelDrift(frozenset(), frozenset())


@pytest.mark.parametrize(
    ("kind", "name", "respect", "values"),
    [
        ("zone", "k3s", "entered by", {"cni0", "flannel.1", "flannel-v6.1"}),
        ("policy", "k3s-rows", "entered by", {"any"}),
        ("policy", "k3s-pods-to-host", "entered by", {"cni0", "flannel.1", "flannel-v6.1"}),
        ("policy", "k3s-pods-to-host", "target", {"ACCEPT"}),
        ("policy", "k3s-pods-to-any", "target", {"ACCEPT"}),
        ("policy", "k3s-nodes-to-pods", "target", set()),
    ],
)
def test_the_facts_of_a_real_listing(kind, name, respect, values):
    found = {
        fact.value
        for fact in read(listing()).facts
        if (fact.kind.value, fact.name, fact.respect) == (kind, name, respect)
    }
    # Ways in may be more than one of each.
    assert values <= found if respect == "entered by" else values == found


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("k3s-server-4", {"192.0.2.11", "192.0.2.12", "192.0.2.13"}),
        ("k3s-server-6", {"2001:db8::11", "2001:db8::12"}),
        ("k3s-group-admins-4", {"192.0.2.128/25", "198.51.100.0/28"}),
        ("k3s-group-admins-6", {"2001:db8:a::/48"}),
        ("k3s-group-clients-4", set()),
    ],
)
def test_the_entries_of_a_real_listing(name, entries):
    assert read(listing()).ipsets[name] == entries


def test_the_rules_of_a_real_listing_are_the_rich_rules_that_made_them():
    found = {fact.value for fact in read(listing()).facts if fact.respect == "rich_rules"}
    assert found == {*RUNTIME[Kind.POLICY, "k3s-rows"].rules}
    texts = set(map(str, found))
    for text in (
        ETCD,
        'rule family="ipv6" source ipset="k3s-node-6" port port="8472" protocol="udp" accept',
        'rule family="ipv4" source address="198.51.100.7" port port="179" protocol="sctp" accept',
        'rule family="ipv4" port port="6379" protocol="tcp" accept',
    ):
        assert text in texts


# -- what gets lost -------------------------------------------------------------------------------

LOST = [
    *rules_in(ROWS_ALLOW),
    *rules_in("filter_INPUT_POLICIES_pre"),
    *rules_in("filter_FORWARD_POLICIES_pre"),
    *rules_in("filter_INPUT_ZONES")[:3],
    rules_in("filter_IN_policy_k3s-pods-to-host")[-1],
    rules_in("filter_FWD_policy_k3s-pods-to-any")[-1],
    next(item for item in rules_in("filter_IN_policy_k3s-rows") if "_allow" in str(item)),
]


def test_every_lost_rule_is_missing():
    assert len(LOST) > 40
    unseen = [item for item in LOST if not drift(listing(without=[item])).missing]
    assert unseen == []


def test_a_lost_rule_is_reported_as_a_rich_rule():
    (etcd,) = [item for item in LOST if "2379" in str(item) and "server-4" in str(item)]
    assert drift(listing(without=[etcd])).differences() == (
        Difference("kernel", (Kind.POLICY, "k3s-rows"), "rich_rules", (read_rule(ETCD),), ()),
    )


def test_a_lost_jump_from_a_zone_to_the_policies_is_drift():
    # Without it no packet on the node's own interface meets a row, whatever stands behind.
    (jump,) = [item for item in rules_in("filter_IN_public") if "POLICIES_pre" in str(item)]
    assert drift(listing(without=[jump])).rules


def test_rules_that_no_packet_reaches_do_not_count():
    jump = {"jump": {"target": "filter_INPUT_POLICIES_pre"}}
    jumps = [item for item in LISTING["nftables"] if jump in item.get("rule", {}).get("expr", ())]
    found = drift(listing(without=jumps))
    rows = set(RUNTIME[Kind.POLICY, "k3s-rows"].rules)
    assert rows <= {fact.value for fact in found.missing}


def test_a_lost_ipset_is_missing_with_all_its_entries():
    sets = [item for item in LISTING["nftables"] if "set" in item]
    (servers,) = [item for item in sets if item["set"]["name"] == "k3s-server-4"]
    found = drift(listing(without=[servers]))
    assert {fact.value for fact in found.missing} == {
        "exists",
        "192.0.2.11",
        "192.0.2.12",
        "192.0.2.13",
    }
    assert found.rules


def with_elements(name, elements):
    items = listing()
    for item in items:
        if item.get("set", {}).get("name") == name:
            item["set"]["elem"] = elements
    return items


@pytest.mark.parametrize(
    ("elements", "old", "new"),
    [
        (["192.0.2.11", "192.0.2.12"], [], ["192.0.2.13"]),
        ([], [], ["192.0.2.11", "192.0.2.12", "192.0.2.13"]),
        (
            ["192.0.2.11", "192.0.2.12", "192.0.2.13", "203.0.113.6"],
            ["203.0.113.6"],
            [],
        ),
        (
            ["192.0.2.11", {"prefix": {"addr": "203.0.113.0", "len": 24}}, "192.0.2.13"],
            ["203.0.113.0/24"],
            ["192.0.2.12"],
        ),
    ],
)
def test_entries_lost_and_added_in_the_kernel_are_drift_without_a_reload(elements, old, new):
    found = drift(with_elements("k3s-server-4", elements))
    (entries,) = found.differences()
    assert (entries.subject, entries.setting) == ((Kind.IPSET, "k3s-server-4"), "entries")
    assert (entries.extra, entries.missing) == (tuple(old), tuple(new))
    assert found.ipsets == {"k3s-server-4"}
    assert not found.rules


@pytest.mark.parametrize(
    "elements",
    [
        [{"range": ["192.0.2.11", "192.0.2.13"]}],
        ["192.0.2.11", {"prefix": {"addr": "192.0.2.12", "len": 31}}],
        [{"elem": {"val": "192.0.2.11", "timeout": 60}}, {"range": ["192.0.2.12", "192.0.2.13"]}],
    ],
)
def test_the_same_addresses_written_in_another_way_are_not_drift(elements):
    assert not drift(with_elements("k3s-server-4", elements)).differences()


def test_an_empty_table_lacks_everything():
    found = kernel_drift(KernelRules(table=False), RUNTIME)
    assert len(found.missing) > 60
    assert not found.extra


def test_a_kernel_that_cannot_be_read_shows_no_drift():
    assert kernel_drift(None, RUNTIME) == KernelDrift(frozenset(), frozenset())


# -- what is too much -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expressions",
    [
        [match("tcp", "dport", 22), ACCEPT],
        [match("tcp", "dport", {"set": [80, 8080]}), ACCEPT],
        [match("tcp", "dport", {"range": [1, 1024]}), ACCEPT],
        [match("ip", "saddr", "203.0.113.6"), ACCEPT],
        [match("ip", "saddr", {"set": ["203.0.113.6", "203.0.113.7"]}), ACCEPT],
        [match("ip", "daddr", "192.0.2.11"), match("tcp", "dport", 22), ACCEPT],
        [match("th", "dport", 22), ACCEPT],
        [{"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, ACCEPT],
        [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, ACCEPT],
        [{"counter": {"packets": 0, "bytes": 0}}, match("udp", "sport", 53), ACCEPT],
        [{"xt": None}, ACCEPT],
        [{"log": {"prefix": "x"}}],
        [ACCEPT],
    ],
    ids=lambda expressions: json.dumps(expressions)[:60],
)
def test_any_rule_added_to_a_chain_of_ours_is_drift(expressions):
    found = drift(listing(rule(ROWS_ALLOW, *expressions)))
    assert [(fact.name, fact.respect) for fact in found.extra] == [("k3s-rows", "rich_rules")]
    assert not found.missing


def test_a_duplicate_rule_is_drift_because_firewalld_removes_only_one():
    found = drift(listing(*rules_in(ROWS_ALLOW)))
    assert found.rules
    assert len(found.extra) == len(rules_in(ROWS_ALLOW))
    assert not found.missing


@pytest.mark.parametrize(
    "chain",
    [
        "filter_IN_policy_k3s-rows_deny",
        "filter_IN_policy_k3s-rows_pre",
        "filter_IN_policy_k3s-rows",
    ],
)
def test_a_drop_added_to_a_chain_of_ours_is_drift(chain):
    found = drift(listing(rule(chain, match("tcp", "dport", 6443), DROP)))
    assert found.rules


def test_a_counter_does_not_make_it_another_rule():
    items = listing()
    for item in items:
        if item.get("rule", {}).get("chain") == ROWS_ALLOW:
            item["rule"]["expr"].insert(-1, {"counter": {"packets": 7, "bytes": 420}})
    assert not drift(items).differences()


@pytest.mark.parametrize(
    "stranger",
    [
        {"set": {"name": "k3smine", "type": "ipv4_addr", "elem": ["203.0.113.6"]}},
        rule("filter_INPUT_POLICIES_pre", {"jump": {"target": "filter_IN_policy_k3s-mine"}}),
        rule(
            "filter_INPUT_ZONES",
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth5"}},
            {"goto": {"target": "filter_IN_k3smine"}},
        ),
    ],
    ids=["set", "policy", "zone"],
)
def test_an_object_of_others_named_like_ours_is_not_drift(stranger):
    assert not drift(listing(stranger)).differences()


# What firewalld 1.3.3 makes of rich rules added by hand to a policy of ours.
NFPROTO = {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv4"}}
BY_HAND = [
    (
        'rule family="ipv4" source address="203.0.113.98" log accept',
        [
            rule(
                "filter_IN_policy_k3s-rows_log", match("ip", "saddr", "203.0.113.98"), {"log": None}
            ),
            rule(ROWS_ALLOW, match("ip", "saddr", "203.0.113.98"), ACCEPT),
        ],
    ),
    (
        'rule family="ipv4" source address="203.0.113.97" drop',
        [rule("filter_IN_policy_k3s-rows_deny", match("ip", "saddr", "203.0.113.97"), DROP)],
    ),
    (
        'rule priority="-5" family="ipv4" port port="22" protocol="tcp" accept',
        [rule("filter_IN_policy_k3s-rows_pre", NFPROTO, match("tcp", "dport", 22), ACCEPT)],
    ),
    (
        'rule family="ipv4" service name="ssh" accept',
        [rule(ROWS_ALLOW, NFPROTO, match("tcp", "dport", 22), ACCEPT)],
    ),
    (
        'rule family="ipv4" destination address="192.0.2.11" port port="22" protocol="tcp" accept',
        [rule(ROWS_ALLOW, match("ip", "daddr", "192.0.2.11"), match("tcp", "dport", 22), ACCEPT)],
    ),
]


@pytest.mark.parametrize(("text", "made"), BY_HAND, ids=[text for text, _made in BY_HAND])
def test_a_rule_added_through_firewalld_is_not_drift_of_the_kernel(text, made):
    # It is one of the runtime, which goes without a reload; drift of rules costs one.
    rows = RUNTIME[Kind.POLICY, "k3s-rows"]
    by_hand = rows.with_settings({"rich_rules": (*rows.rules, read_rule(text))})
    assert not drift(listing(*made), {**RUNTIME, rows.key: by_hand}).rules


def test_a_port_added_to_a_policy_of_ours_is_not_drift_of_the_kernel():
    rows = RUNTIME[Kind.POLICY, "k3s-rows"].with_settings({"ports": ("22/tcp",)})
    added = rule(ROWS_ALLOW, match("tcp", "dport", 22), ACCEPT)
    assert not drift(listing(added), {**RUNTIME, rows.key: rows}).differences()


# -- rules ----------------------------------------------------------------------------------------


def nft_of(rich_rule):
    """The expressions that firewalld makes of one of our rules, as the listing shows them."""
    ip = "ip" if rich_rule.family == 4 else "ip6"
    if rich_rule.ipset:
        yield match(ip, "saddr", f"@{rich_rule.ipset}")
    elif rich_rule.address:
        address, length = rich_rule.address.split("/")
        yield match(ip, "saddr", {"prefix": {"addr": address, "len": int(length)}})
    else:
        right = f"ipv{rich_rule.family}"
        yield {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": right}}
    if rich_rule.destination:
        address, length = rich_rule.destination.split("/")
        yield match(ip, "daddr", {"prefix": {"addr": address, "len": int(length)}})
    if rich_rule.port:
        low, high = rich_rule.port.low, rich_rule.port.high
        field = "sport" if rich_rule.source_port else "dport"
        right = low if low == high else {"range": [low, high]}
        yield match(rich_rule.protocol.value, field, right)
    elif rich_rule.protocol.number is not None:
        left, right = {"meta": {"key": "l4proto"}}, rich_rule.protocol.number
        yield {"match": {"op": "==", "left": left, "right": right}}
    yield ACCEPT


@given(RICH_RULES)
def test_every_rule_that_we_can_write_is_recognised_in_the_kernel(rich_rule):
    items = [
        {"chain": {"name": "filter_INPUT", "hook": "input"}},
        rule("filter_INPUT", {"jump": {"target": ROWS_ALLOW}}),
        rule(ROWS_ALLOW, *nft_of(rich_rule)),
    ]
    expected = KernelFact(Kind.POLICY, "k3s-rows", "rich_rules", rich_rule)
    assert expected in read(items).facts


def test_a_policy_of_a_zone_without_interfaces_has_no_chains_and_needs_none():
    objects = wanted(changed("flannel_backend", "none")).objects
    respects = {
        (fact.name, fact.respect)
        for fact in kernel_drift(KernelRules(), objects).missing
        if fact.kind is Kind.POLICY
    }
    assert {name for name, _respect in respects} == {"k3s-rows", "k3s-bound-to-any"}


def test_the_interfaces_of_another_zone_do_not_count():
    zone = make_object(Kind.ZONE, "k3s-old", {"interfaces": ("old0",)})
    facts = kernel_drift(KernelRules(), {**RUNTIME, zone.key: zone}).missing
    assert KernelFact(Kind.POLICY, "k3s-pods-to-host", "entered by", "old0") not in facts
    assert KernelFact(Kind.ZONE, "k3s-old", "entered by", "old0") in facts


def test_the_kernels_rules_of_a_zone_are_read_as_ports_and_rich_rules():
    chain = "filter_IN_public_allow"
    new = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["new", "untracked"]}}
    prefix = {"prefix": {"addr": "10.42.0.0", "len": 16}}
    items = [
        rule(chain, match("tcp", "dport", 6443), ACCEPT),
        rule(chain, match("tcp", "dport", {"range": [2379, 2380]}), new, ACCEPT),
        rule(chain, match("ip", "saddr", prefix), ACCEPT),
        rule(chain, match("tcp", "sport", 9090), ACCEPT),
        rule(chain, match("ip", "saddr", "203.0.113.5"), match("tcp", "dport", 443), ACCEPT),
        rule("filter_IN_internal_allow", match("tcp", "dport", 3000), ACCEPT),
    ]
    listing = json.dumps({"nftables": items})
    text = 'rule family="ipv4" source address="10.42.0.0/16" accept'
    told = set(map(str, accepted_by_zone(listing, "public")))
    assert {"6443/tcp", "2379-2380/tcp", text} <= told
    assert not told & {"9090/tcp", "443/tcp", "3000/tcp"}


def test_ipsets_that_were_read_later_replace_the_earlier_ones():
    items = LISTING["nftables"]
    (changed_set,) = (each["set"] for each in items if each.get("set", {}).get("name") == NODE_SET)
    later = read([{"set": {**changed_set, "elem": ["192.0.2.77"]}}])
    read_again = read(items).with_ipsets([NODE_SET], later)
    assert kernel_drift(read_again, RUNTIME).names == {NODE_SET}
    assert read_again.ipsets[NODE_SET] == {"192.0.2.77"}
    assert read(items).with_ipsets([NODE_SET], read([{"set": changed_set}])) == read(items)


def test_an_ipset_that_disappeared_is_all_that_is_missing():
    left = read(LISTING["nftables"]).with_ipsets([NODE_SET], KernelRules(table=False))
    assert kernel_drift(left, RUNTIME).names == {NODE_SET}
