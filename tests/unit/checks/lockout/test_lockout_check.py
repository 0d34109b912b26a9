"""What an apply or a first start must not close, and what it may."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.checks.lockout.allowed_by_other_rules import allows
from k3sfw_engine.checks.lockout.contradicted_role import contradicted_role
from k3sfw_engine.checks.lockout.lockout_check import in_use, never_allowed, taken_away
from k3sfw_engine.checks.lockout.messages import allowed, or_allow
from k3sfw_engine.checks.lockout.refusals import refusals, refusals_of_a_first_start
from k3sfw_engine.checks.lockout.shrunken_node_list import suspected_loss
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.firewall_objects import Kind
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection
from k3sfw_engine.model.rows import Protocol, Role
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import OtherRules, ServiceDefinition as FirewalldService
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.ipsets import keep_members
from tests.unit.samples import NODES, as_read, changed, parsed, pillar

S2, S3, A1, OUTSIDER, ADMIN = (
    "192.0.2.12",
    "192.0.2.13",
    "192.0.2.21",
    "203.0.113.9",
    "198.51.100.3",
)
ETCD, API, SSH, MASTER = (
    CriticalService.ETCD,
    CriticalService.API,
    CriticalService.SSH,
    CriticalService.MASTER,
)


def flow(port, service, peer, *, live=True):
    version = netaddr.IPNetwork(peer).version
    local = netaddr.IPAddress({4: "192.0.2.11", 6: "2001:db8::11"}[version]) if live else None
    return LiveConnection(port, service, netaddr.IPNetwork(peer), local)


def objects(tree=None, role="server"):
    return compute_desired(parsed(tree, role), Role(role)).objects


def without_node(name, tree=None):
    tree = pillar() if tree is None else tree
    tree["nodes"] = {each: columns for each, columns in tree["nodes"].items() if each != name}
    tree["firewall"] = {}
    return tree


def opened(source, port=2222, tree=None):
    """The good tables, and a row of the operator's for ssh."""
    return changed("ports:manager:ssh", {"protocol": "tcp", "port": port, "source": source}, tree)


def closed(flows, before, after):
    """``(port, peer)`` of what an apply of one pillar over another one would close."""
    lost = taken_away(flows, objects(before), objects(after), parsed(after))
    return [(each.port, str(each.peer)) for each in lost]


def sentences(flows, before, after, names=None, zones=None):
    now, wanted, tables = objects(before), objects(after), parsed(after)
    lost = taken_away(flows, now, wanted, tables)
    named = {netaddr.IPAddress(address): name for address, name in (names or {}).items()}
    found = dict.fromkeys(lost, zones) if zones else {}
    return [str(or_allow(each)) for each in refusals(lost, now, wanted, tables, named, found)]


# -- what an apply takes away ---------------------------------------------------------------------

CASES = {
    "nothing changes": (flow(2379, ETCD, S2), pillar(), pillar(), False),
    "a member of etcd leaves": (flow(2380, ETCD, S3), pillar(), without_node("s3"), True),
    "another member leaves": (flow(2380, ETCD, S2), pillar(), without_node("s3"), False),
    "a member of etcd by IPv6": (
        flow(2379, ETCD, "2001:db8::12"),
        pillar(),
        changed("nodes:s2:addresses", [S2]),
        True,
    ),
    "its other family stays": (
        flow(2379, ETCD, S2),
        pillar(),
        changed("nodes:s2:addresses", [S2]),
        False,
    ),
    "a member becomes an agent": (
        flow(2379, ETCD, S2),
        pillar(),
        changed("nodes:s2:role", "agent"),
        True,
    ),
    "and still may ask the API server": (
        flow(6443, API, S2),
        pillar(),
        changed("nodes:s2:role", "agent"),
        False,
    ),
    "the row of etcd is narrowed to one of two ports": (
        flow(2379, ETCD, S2),
        pillar(),
        changed("ports:cluster:etcd:port", 2380),
        True,
    ),
    "a range becomes a wider one": (
        flow(2379, ETCD, S2),
        pillar(),
        changed("ports:cluster:etcd:port", "2370-2390"),
        False,
    ),
    "a range is split into its ports": (
        flow(2380, ETCD, S2),
        pillar(),
        changed("ports:cluster:etcd:port", [2379, 2380]),
        False,
    ),
    "a row by address takes the place of the ipset": (
        flow(2379, ETCD, S2),
        pillar(),
        changed("ports:cluster:etcd:source", "192.0.2.0/28"),
        False,
    ),
    "and one that misses the peer does not": (
        flow(2379, ETCD, S2),
        pillar(),
        changed("ports:cluster:etcd:source", "192.0.2.32/28"),
        True,
    ),
    "another row lets it in": (
        flow(2379, ETCD, S3),
        pillar(),
        without_node("s3", opened([f"{S3}/32"], 2379)),
        False,
    ),
    "the row of ssh goes": (flow(2222, SSH, OUTSIDER), opened("clients"), pillar(), True),
    "every host is a client, and the row stays": (
        flow(2222, SSH, OUTSIDER),
        opened("clients"),
        opened(["clients", "admins"]),
        False,
    ),
    "every host becomes a group with the peer": (
        flow(2222, SSH, ADMIN),
        opened("clients"),
        opened("admins"),
        False,
    ),
    "every host becomes a group without the peer": (
        flow(2222, SSH, OUTSIDER),
        opened("clients"),
        opened("admins"),
        True,
    ),
    "clients of IPv6 are narrowed": (
        flow(2222, SSH, "2001:db8:ffff::9"),
        opened("clients"),
        changed("groups:clients", ["0.0.0.0/0", "2001:db8::/64"], opened("clients")),
        True,
    ),
    "clients of IPv4 are left as they were": (
        flow(2222, SSH, OUTSIDER),
        opened("clients"),
        changed("groups:clients", ["0.0.0.0/0", "2001:db8::/64"], opened("clients")),
        False,
    ),
    "no rule of ours has ever let it in": (flow(22, SSH, OUTSIDER), pillar(), pillar(), False),
    "what others let in is theirs": (flow(22, SSH, OUTSIDER), opened("admins"), pillar(), False),
    "ssh from a pod, whose row goes": (
        flow(22, SSH, "10.42.3.4"),
        pillar(),
        changed("ports:cluster:pods:enabled", False),
        True,
    ),
    "ssh from a pod": (flow(22, SSH, "10.42.3.4"), pillar(), opened("clients"), False),
    "UDP at the port of ssh": (
        flow(2222, SSH, OUTSIDER),
        opened("clients"),
        changed("ports:manager:ssh:protocol", "udp", opened("clients")),
        True,
    ),
}


@pytest.mark.parametrize(("given", "before", "after", "is_closed"), CASES.values(), ids=CASES)
def test_a_connection_is_closed_when_the_last_rule_that_allows_it_is_removed(
    given, before, after, is_closed
):
    expected = [(given.port, str(given.peer))] if is_closed else []
    assert closed([given], before, after) == expected


def test_a_first_apply_over_a_running_firewalld_closes_nothing():
    flows = [flow(2222, SSH, OUTSIDER), flow(2379, ETCD, "198.51.100.77"), flow(22, SSH, ADMIN)]
    assert taken_away(flows, {}, objects(), parsed()) == ()


def test_members_that_are_kept_lose_nothing():
    before, after = objects(), without_node("s3")
    kept = keep_members(compute_desired(parsed(after), Role.SERVER), before).objects
    assert taken_away([flow(2380, ETCD, S3)], before, kept, parsed(after)) == ()


def test_ten_thousand_minions_of_a_master_are_judged_quickly():
    flows = [
        flow(4505, MASTER, f"198.18.{number // 250}.{number % 250}") for number in range(10000)
    ]
    tree = opened("198.18.0.0/15", "4505-4506")
    assert len(closed(flows, tree, pillar())) == 10000
    assert closed(flows, tree, tree) == []


# -- who must get in ------------------------------------------------------------------------------


def test_pods_at_the_api_server_do_not_count_and_pods_with_an_ssh_session_do():
    flows = (flow(6443, API, "10.42.3.4"), flow(6443, API, S2), flow(22, SSH, "10.42.3.4"))
    assert in_use(HostActivity(flows), parsed()) == (flows[1], flows[2])


def test_the_group_mgmt_keeps_access_to_every_port_of_ssh():
    groups = {"mgmt": ["198.51.100.0/24", "2001:db8:a::/48"]}
    before = pillar(groups={**pillar()["groups"], **groups})
    before = opened("mgmt", "2222-2223", before)
    narrowed = changed("groups:mgmt", ["198.51.100.0/24", "2001:db8:a::/48"], opened("clients"))
    narrowed["ports"]["manager"]["ssh"]["source"] = "198.51.100.0/25"
    needed = in_use(HostActivity(ssh_ports=frozenset({2222, 2223})), parsed(before))
    assert closed(needed, before, before) == []
    assert closed(needed, before, narrowed) == [
        (2222, "198.51.100.128/25"),
        (2222, "2001:db8:a::/48"),
        (2223, "198.51.100.0/24"),
        (2223, "2001:db8:a::/48"),
    ]
    assert "of k3s:groups:mgmt: this rule of policy k3s-rows is removed" in " ".join(
        sentences(needed, before, narrowed)
    )


def test_a_group_mgmt_of_everybody_is_kept_by_a_row_for_everybody_and_by_nothing_less():
    tree = opened("mgmt", tree=changed("groups:mgmt", ["0.0.0.0/0"]))
    needed = in_use(HostActivity(ssh_ports=frozenset({2222})), parsed(tree))
    assert closed(needed, tree, changed("ports:manager:ssh:source", "clients", tree)) == []
    less = opened("admins", tree=changed("groups:mgmt", ["0.0.0.0/0"]))
    assert (2222, "203.0.113.0/24") not in closed(needed, tree, less)
    assert netaddr.IPAddress(OUTSIDER) in netaddr.IPSet(
        peer for _port, peer in closed(needed, tree, less)
    )


# -- the sentences --------------------------------------------------------------------------------


def test_a_refusal_names_connection_peer_rule_and_fix():
    (sentence,) = sentences([flow(2379, ETCD, S3)], pillar(), without_node("s3"), {S3: "s3"})
    assert sentence == (
        "this would close tcp/2379 to 192.0.2.13 (s3), which has a live connection to etcd here: "
        'it leaves ipset k3s-server-4 (policy k3s-rows: rule family="ipv4" source '
        'ipset="k3s-server-4" port port="2379-2380" protocol="tcp" accept); no remaining '
        "row allows it. Fix: put s3 with the role server and this address back into k3s:nodes, or "
        "set k3s:firewall:allow_lockout: true for this one apply"
    )


def test_a_node_that_the_tables_know_is_named_by_them():
    after = changed("nodes:s2:role", "agent")
    (sentence,) = sentences([flow(2379, ETCD, S2)], pillar(), after, {S2: "another name"})
    assert "tcp/2379 to 192.0.2.12 (s2, agent), which" in sentence
    assert "put s2 with the role server" in sentence


def test_a_removed_row_is_named_with_the_zone_that_could_open_the_port_instead():
    (sentence,) = sentences(
        [flow(2222, SSH, OUTSIDER)], opened("clients"), pillar(), None, "public"
    )
    assert (
        'this rule of policy k3s-rows is removed: rule family="ipv4" port port="2222"' in sentence
    )
    assert (
        "Fix: firewall-cmd --permanent --zone=public --add-port=2222/tcp, or let a row of "
        "k3s:ports open tcp/2222 to 203.0.113.9, or set" in sentence
    )


def test_a_peer_that_leaves_a_group_is_to_be_put_back_into_it():
    before = opened("admins")
    after = changed("groups:admins", ["198.51.100.8/29"], opened("admins"))
    (sentence,) = sentences([flow(2222, SSH, ADMIN)], before, after)
    assert "it leaves ipset k3s-group-admins-4" in sentence
    assert "Fix: put 198.51.100.3 back into k3s:groups:admins, or set" in sentence


def test_everything_that_would_be_closed_is_reported_at_once_and_each_peer_of_a_port_once():
    flows = [flow(2379, ETCD, S3), flow(2380, ETCD, S3), flow(2222, SSH, OUTSIDER)]
    flows.append(replace(flows[0], local=netaddr.IPAddress("192.0.2.111")))
    before, after = opened("clients"), without_node("s3")
    found = sentences(flows, before, after)
    assert [text.split(",")[0] for text in found] == [
        "this would close tcp/2222 to 203.0.113.9",
        "this would close tcp/2379 to 192.0.2.13",
        "this would close tcp/2380 to 192.0.2.13",
    ]


# -- what others let in ---------------------------------------------------------------------------


def zone(name="public", **settings):
    return as_read(Kind.ZONE, name, settings)


def policy(**settings):
    made = {"ingress_zones": ("ANY",), "egress_zones": ("HOST",), **settings}
    return as_read(Kind.POLICY, "theirs", made)


SERVICES = {"ssh": FirewalldService(ports=("22/tcp",))}
PUBLIC = zone(services=("ssh",))
DENIED = 'rule family="ipv4" source address="203.0.113.0/24" drop'
OTHERS_DENIED = 'rule family="ipv4" source address="198.51.100.0/24" drop'
UDP_DENIED = 'rule port port="1" protocol="udp" drop'
FROM_PORT = 'rule source-port port="99" protocol="tcp" accept'

# zones, policies, interfaces, port, whether 203.0.113.9 is let in
WAYS = {
    "the default zone has ssh": ([PUBLIC], [], {"eth0"}, 22, True),
    "and no other port": ([PUBLIC], [], {"eth0"}, 2222, False),
    "a zone with a port": ([zone(ports=("2000-3000/tcp",))], [], {"eth0"}, 2222, True),
    "a zone with a port of udp": ([zone(ports=("2222/udp",))], [], {"eth0"}, 2222, False),
    "a zone that accepts": ([zone(target="ACCEPT")], [], {"eth0"}, 2222, True),
    "a zone that accepts, and rejects the rest": (
        [zone(target="ACCEPT", rules_str=("rule priority=32767 reject",))],
        [],
        {"eth0"},
        2222,
        False,
    ),
    "the interface is in another zone": (
        [PUBLIC, zone("dmz", interfaces=("eth0",))],
        [],
        {"eth0"},
        22,
        False,
    ),
    "it may come in by either of two": (
        [PUBLIC, zone("dmz", interfaces=("eth1",))],
        [],
        {"eth0", "eth1"},
        22,
        False,
    ),
    "its way is not known": ([PUBLIC], [], set(), 22, False),
    "there is no such zone": ([], [], {"eth0"}, 22, False),
    "its address is a source of a zone without it": (
        [PUBLIC, zone("drop", sources=("203.0.113.0/24",), target="DROP")],
        [],
        {"eth0"},
        22,
        False,
    ),
    "its address is a source of a zone with it": (
        [zone(), zone("office", sources=("203.0.113.0/24",), services=("ssh",))],
        [],
        {"eth0"},
        22,
        True,
    ),
    "a card's address may be its own": (
        [PUBLIC, zone("drop", sources=("02:00:00:00:00:01",), target="DROP")],
        [],
        {"eth0"},
        22,
        False,
    ),
    "a rule keeps it out": (
        [zone(services=("ssh",), rules_str=(DENIED,))],
        [],
        {"eth0"},
        22,
        False,
    ),
    "a rule keeps others out": (
        [zone(services=("ssh",), rules_str=(OTHERS_DENIED,))],
        [],
        {"eth0"},
        22,
        True,
    ),
    "a rule lets it in": (
        [
            zone(
                rules_str=(
                    'rule family="ipv4" source address="203.0.113.9" port port="2222" '
                    'protocol="tcp" accept',
                )
            )
        ],
        [],
        {"eth0"},
        2222,
        True,
    ),
    "a rule lets another source in": (
        [
            zone(
                rules_str=(
                    'rule family="ipv4" source address="203.0.113.8" port port="2222" '
                    'protocol="tcp" accept',
                )
            )
        ],
        [],
        {"eth0"},
        2222,
        False,
    ),
    "every host but one": (
        [zone(rules_str=('rule family="ipv4" source NOT address="203.0.113.8" accept',))],
        [],
        {"eth0"},
        2222,
        False,
    ),
    "any sender from one port": ([zone(rules_str=(FROM_PORT,))], [], {"eth0"}, 22, False),
    "a source port": ([zone(source_ports=("99/tcp",))], [], {"eth0"}, 22, False),
    "a policy of theirs": ([zone()], [policy(services=("ssh",))], {"eth0"}, 22, True),
    "a policy of another zone": (
        [zone(), zone("dmz", interfaces=("eth1",))],
        [policy(ingress_zones=("dmz",), services=("ssh",))],
        {"eth0"},
        22,
        False,
    ),
    "a policy that rejects": ([PUBLIC], [policy(target="REJECT")], {"eth0"}, 22, False),
    "a policy about what is forwarded": (
        [PUBLIC],
        [policy(egress_zones=("ANY",), target="REJECT")],
        {"eth0"},
        22,
        True,
    ),
    "a policy that lets IPv6's neighbours in": (
        [PUBLIC],
        [policy(rich_rules=('rule family="ipv6" icmp-type name="redirect" accept',))],
        {"eth0"},
        22,
        True,
    ),
}


@pytest.mark.parametrize(
    ("zones", "policies", "interfaces", "port", "let_in"), WAYS.values(), ids=WAYS
)
def test_a_connection_that_other_rules_certainly_allow_is_not_closed(
    zones, policies, interfaces, port, let_in
):
    others = OtherRules({each.name: each for each in zones}, "public", tuple(policies), SERVICES)
    question = Packet(netaddr.IPNetwork(OUTSIDER), Protocol.TCP, port)
    assert allows(others, question, frozenset(interfaces)) is let_in


@pytest.mark.parametrize(
    ("settings", "allowed_protocols"),
    [
        ({"protocols": ("vrrp",)}, ["vrrp"]),
        ({"protocols": ("112",)}, ["vrrp"]),
        ({"protocols": ("ipencap",)}, ["ipip"]),
        # Of /etc/protocols: number 94, and not what rows and ``ip tunnel`` call so.
        ({"protocols": ("ipip",)}, []),
        ({"services": ("ipsec",)}, ["esp"]),
        ({"rules_str": ('rule protocol value="vrrp" accept',)}, ["vrrp"]),
        ({"rules_str": ('rule family="ipv6" protocol value="vrrp" accept',)}, []),
        ({"rules_str": ('rule family="ipv4" source address="203.0.113.9" accept',)}, None),
        ({"target": "ACCEPT"}, None),
        ({"ports": ("1-65535/tcp",)}, []),
        ({"protocols": ("vrrp",), "rules_str": (DENIED,)}, []),
        ({"protocols": ("vrrp",), "rules_str": (UDP_DENIED,)}, ["vrrp"]),
    ],
)
def test_an_ip_protocol_that_other_rules_certainly_allow_is_not_closed(settings, allowed_protocols):
    services = {"ipsec": FirewalldService(("500/udp",), ("esp",))}
    others = OtherRules({"public": zone(**settings)}, "public", (), services)
    every = ["vrrp", "esp", "ipip", "253"]
    found = [
        name
        for name in every
        if allows(others, Packet(netaddr.IPNetwork(OUTSIDER), Protocol(name)), {"eth0"})
    ]
    assert found == (every if allowed_protocols is None else allowed_protocols)


def test_a_network_is_allowed_only_as_a_whole():
    rule = 'rule family="ipv4" source address="203.0.113.0/25" service name="ssh" accept'
    others = OtherRules({"public": zone(rules_str=(rule,))}, "public", (), SERVICES)
    for network, let_in in (("203.0.113.0/26", True), ("203.0.113.0/24", False)):
        question = Packet(netaddr.IPNetwork(network), Protocol.TCP, 22)
        assert allows(others, question, frozenset({"eth0"})) is let_in


def test_the_zone_that_networkmanager_gives_an_interface_decides():
    zones = {"public": PUBLIC, "dmz": zone("dmz")}
    others = OtherRules(zones, "public", (), SERVICES, managed={"eth0": "dmz"})
    question = Packet(netaddr.IPNetwork(OUTSIDER), Protocol.TCP, 22)
    assert not allows(others, question, frozenset({"eth0"}))
    assert allows(others, question, frozenset({"eth1"}))


# -- a first start --------------------------------------------------------------------------------


def test_a_fresh_single_server_has_nothing_to_lose_but_what_no_row_opens():
    tree = pillar(nodes={"s1": NODES["s1"]}, firewall={})
    flows = [flow(22, SSH, OUTSIDER), flow(2222, SSH, OUTSIDER), flow(6443, API, "192.0.2.11")]
    lost = never_allowed(flows, objects(tree), parsed(tree))
    assert lost == (flows[0], flows[1])
    public = OtherRules({"public": PUBLIC}, "public", (), SERVICES)
    question = Packet(netaddr.IPNetwork(OUTSIDER), Protocol.TCP, 22)
    assert allows(public, question, frozenset({"eth0"}))
    (sentence,) = refusals_of_a_first_start(lost[1:], parsed(tree), {}, {flows[1]: "public"})
    assert str(or_allow(sentence)) == (
        "the first start of firewalld would close tcp/2222 to 203.0.113.9, which has a live ssh "
        "session here: neither a row nor zone public allows it. Fix: firewall-offline-cmd "
        "--zone=public --add-port=2222/tcp, or let a row of k3s:ports open tcp/2222 to "
        "203.0.113.9, or set k3s:firewall:allow_lockout: true for this one apply"
    )


def test_what_the_operator_allows_is_reported_without_a_fix():
    flows = (flow(2222, SSH, OUTSIDER),)
    (refusal,) = refusals_of_a_first_start(flows, parsed(), {}, {})
    assert allowed(refusal) == (
        "the first start of firewalld would close tcp/2222 to 203.0.113.9, which has a live ssh "
        "session here: neither a row nor a zone allows it; k3s:firewall:allow_lockout allows it"
    )


# -- roles ----------------------------------------------------------------------------------------

ROLES = {
    "an agent with a live etcd": ("agent", HostActivity((flow(2380, ETCD, S2),)), "etcd with live"),
    "an agent with an API server": (
        "agent",
        HostActivity((flow(6443, API, A1),)),
        "an API server with",
    ),
    "an agent whose API server only pods call": (
        "agent",
        HostActivity((flow(6443, API, "10.42.1.2"),)),
        "",
    ),
    "an agent with an unused K3s server": (
        "agent",
        HostActivity(k3s_roles=frozenset({Role.SERVER})),
        "",
    ),
    "an agent": ("agent", HostActivity(k3s_roles=frozenset({Role.AGENT})), ""),
    "an agent with sessions of ssh": ("agent", HostActivity((flow(22, SSH, ADMIN),)), ""),
    "a server that runs k3s-agent": (
        "server",
        HostActivity(k3s_roles=frozenset({Role.AGENT})),
        "is a server, but k3s-agent runs",
    ),
    "a server": (
        "server",
        HostActivity((flow(2380, ETCD, S2),), k3s_roles=frozenset({Role.SERVER})),
        "",
    ),
    "a lone server": ("server", HostActivity(k3s_roles=frozenset({Role.SERVER})), ""),
    "a server without K3s yet": ("server", HostActivity(), ""),
    "an agent without K3s yet": ("agent", HostActivity(), ""),
}


@pytest.mark.parametrize(("role", "seen", "refused"), ROLES.values(), ids=ROLES)
def test_a_role_is_refused_only_where_what_lives_here_contradicts_it(role, seen, refused):
    found = list(contradicted_role(seen, parsed(role=role), Role(role)))
    assert len(found) == bool(refused)
    assert all(refused in str(each) for each in found)


# -- a suddenly smaller list ---------------------------------------------------------


def cluster(count, *, first=1, families=(4,), **firewall):
    make = {4: "198.18.0.{}", 6: "2001:db8:1::{}"}
    nodes = {
        f"n{number}": {
            "role": "agent",
            "addresses": [make[family].format(number) for family in families],
        }
        for number in range(first, first + count)
    }
    return pillar(nodes={"s1": {"role": "server", "addresses": ["192.0.2.11"]}, **nodes}) | {
        "firewall": firewall
    }


@pytest.mark.parametrize(
    ("held", "listed", "is_believed"),
    [
        (cluster(9), cluster(4), True),  # ten become five: half is not fewer than half
        (cluster(9), cluster(3), False),
        (cluster(3), cluster(0), False),
        (cluster(2), cluster(0), True),  # no three of them go
        (cluster(9), cluster(3, expected_nodes=4), True),
        (cluster(9), cluster(3, expected_nodes=5), False),
        (cluster(9), cluster(20), True),
        (cluster(5), cluster(5, first=50), True),  # others, and not fewer
        (cluster(4, families=(4, 6)), cluster(1, families=(4, 6)), False),
        (cluster(4, families=(4, 6)), cluster(4, families=(4,)), True),
    ],
)
def test_a_node_list_is_trusted_unless_it_is_suddenly_much_smaller(held, listed, is_believed):
    reason = suspected_loss(parsed(listed), objects(listed), objects(held))
    assert (reason == "") is is_believed
    if reason:
        assert "set k3s:firewall:expected_nodes to the true number of nodes" in reason


def test_a_first_apply_and_a_lone_server_are_never_suspected():
    lone = cluster(0)
    assert suspected_loss(parsed(lone), objects(lone), {}) == ""
    assert suspected_loss(parsed(lone), objects(lone), objects(lone)) == ""


def test_a_list_that_was_distrusted_stays_distrusted_after_its_additions_are_in_force():
    held, listed = objects(cluster(9)), cluster(2, first=50)
    for _apply in range(3):
        assert suspected_loss(parsed(listed), objects(listed), held)
        held = keep_members(compute_desired(parsed(listed), Role.SERVER), held).objects
