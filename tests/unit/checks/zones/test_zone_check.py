"""check_zones judged by tables: what was read, changed in one respect, gives that verdict alone.

The node is s1, with an uplink eth0 in the default zone public, and its pods' interfaces in zone
k3s. The tables are the document's.
"""

from __future__ import annotations

import shlex
from dataclasses import replace

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.report import Report
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.checks.zone_openings import openings
from k3sfw_engine.checks.zones.every_interface import list_interfaces
from k3sfw_engine.checks.zones.every_target import list_targets
from k3sfw_engine.checks.zones.zone_check import judge_zones
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.firewall_objects import Kind
from k3sfw_engine.model.host_facts import HostFacts, NmConnection
from k3sfw_engine.model.interfaces_and_routes import Interface, Network
from k3sfw_engine.model.nat import NatFacts, Redirection
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.model.zones import ObservedZones, ServiceDefinition, ZoneLayer
from tests.unit.samples import as_read, parsed, pillar

SERVICES = {
    "ssh": ServiceDefinition(("22/tcp",)),
    "dhcpv6-client": ServiceDefinition(("546/udp",)),
    "http": ServiceDefinition(("80/tcp",)),
    "https": ServiceDefinition(("443/tcp",)),
    "etcd": ServiceDefinition(("2379/tcp", "2380/tcp", "2381/tcp")),
    "gre": ServiceDefinition((), ("gre",)),
    "odd": ServiceDefinition((), ("tcp",), ("53/udp",)),
}
IPSETS = {
    "cards": ("00:11:22:33:44:55",),
    "empty": (),
    "friends": ("198.51.100.0/24",),
    "nodes": ("192.0.2.12", "192.0.2.20-192.0.2.29"),
}
MASTER = netaddr.IPAddress("203.0.113.10")
PODS = ("cni0", "flannel.1")

PUBLIC = {"services": ("dhcpv6-client", "ssh")}
OURS = {"interfaces": ("cni0", "flannel.1", "flannel-v6.1"), "forward": True}


def link(name, *addresses, master="", kind=""):
    networks = tuple(map(netaddr.IPNetwork, addresses))
    return Interface(name, True, True, 1500, kind, networks, master)


LINKS = (
    link("lo"),
    link("eth0", "192.0.2.11/24", "2001:db8::11/64"),
    link("cni0", "10.42.1.1/24", kind="bridge"),
    link("flannel.1", "10.42.1.0/32", kind="vxlan"),
)


def layer(default="public", **zones):
    """The zones in use of one layer: public, ours, and these; ``_`` in a name is a hyphen."""
    every = {"public": PUBLIC, "k3s": OURS, **zones}
    made = {
        name.replace("_", "-"): as_read(Kind.ZONE, name.replace("_", "-"), settings)
        for name, settings in every.items()
        if settings is not None
    }
    return ZoneLayer(made, default)


def both(**zones):
    return facts(layer(**zones), layer(**zones))


def facts(runtime=None, permanent=None, redirected=(), unread=(), **more):
    return ObservedZones(
        runtime or layer(),
        permanent or layer(),
        SERVICES,
        IPSETS,
        redirected=NatFacts(frozenset(redirected), tuple(unread)),
        **more,
    )


def situation(*links, role="server", **changed):
    tree = pillar(**{"peer_ports": {"cluster": {}, "manager": {}}, **changed})
    tables = parsed(tree, role)
    (node,) = (each for each in tables.nodes if each.name == f"{role[0]}1")
    every = {each.name: each for each in (*LINKS, *links)}
    return NodeFacts(node, (), tables, Network(every, (), (), (), (), {}), HostFacts())


def problems(found, at=None, masters=(MASTER,)):
    return Report(judge_zones(at or situation(), found, masters), "").as_dict(full=False)[
        "problems"
    ]


def only(found, at=None):
    (check,) = (
        c for c in judge_zones(at or situation(), found, [MASTER]) if c.status is not Status.OK
    )
    return check


def test_a_node_as_it_should_be_is_ok_in_every_respect():
    checks = judge_zones(situation(), facts(), [MASTER])
    assert {check.status for check in checks} == {Status.OK}
    assert [check.evidence for check in checks] == [
        "only interfaces of pods are in zone k3s",
        "cni0 is in zone k3s: pods come in by it",
        "flannel.1 is in zone k3s: pods come in by it",
        "no zone's source matches nodes, masters, pods or services",
        "zone public (eth0) opens 22/tcp, 546/udp: no row restricts these",
        "no zone has interfaces of pods that no longer exist",
        "no port of this node is redirected past its rules",
    ]


# -- interfaces in the wrong zone -----------------------------------------------------------------


def test_an_uplink_in_the_zone_of_pods_is_exposed():
    ours = {"interfaces": (*OURS["interfaces"], "eth0"), "forward": True}
    check = only(both(k3s=ours))
    assert (check.status, check.hint) == (Status.EXPOSED, "salt s1 state.apply k3s.firewall")
    assert check.evidence == (
        "eth0 is in zone k3s (at runtime and permanently), so any host on that link is treated as "
        "a pod"
    )
    assert "(at runtime)," in only(facts(runtime=layer(k3s=ours))).evidence


def test_a_connection_that_binds_to_the_pods_zone_is_changed_first():
    found = replace(facts(), connections={"eth0": NmConnection("Wired 1", "k3s")})
    check = only(found)
    assert "eth0 is in zone k3s (permanently: from the next reload on)" in check.evidence
    salt, node, function, command, *more = shlex.split(check.hint)
    assert shlex.split(command) == ["nmcli", "connection", "modify", "Wired 1", *CLEARED]
    assert more == ["&&", "salt", "s1", "state.apply", "k3s.firewall"]


CLEARED = ("connection.zone", "")


def test_the_zone_of_pods_as_default_zone_is_exposed():
    found = facts(layer("k3s", public=None), layer("k3s", public=None))
    check = only(found)
    assert check.hint == "salt s1 cmd.run 'firewall-cmd --set-default-zone=public'"


def test_a_bridge_of_virtual_machines_in_the_zone_of_pods_is_exposed():
    ours = {"interfaces": (*OURS["interfaces"], "virbr0"), "forward": True}
    at = situation(link("virbr0", "198.51.100.1/24", kind="bridge"))
    assert only(both(k3s=ours), at).evidence.startswith("virbr0 is in zone k3s")


def pods_in(zone, *names):
    kept = tuple(name for name in OURS["interfaces"] if name not in names)
    there = {zone: {**(PUBLIC if zone == "public" else {}), "interfaces": names}} if zone else {}
    return layer(k3s={"interfaces": kept, "forward": True}, **there)


@pytest.mark.parametrize(
    ("runtime", "permanent", "words", "commands"),
    [
        (
            "public",
            "public",
            "cni0 is in zone public (at runtime and permanently): pods are allowed by zone public "
            "because of their address, and by eth0 so is any host that spoofs one",
            "salt s1 cmd.run 'firewall-cmd --zone=public --remove-interface=cni0 && firewall-cmd "
            "--permanent --zone=public --remove-interface=cni0' && ",
        ),
        (
            "public",
            "k3s",
            "cni0 is in zone public at runtime and in zone k3s permanently: pods",
            "salt s1 cmd.run 'firewall-cmd --zone=public --remove-interface=cni0' && ",
        ),
        (
            "",
            "",
            "cni0 is in no zone (at runtime and permanently): its pods are judged by the "
            "default zone public, and so are the hosts that come in by eth0",
            "",
        ),
        ("k3s", "", "cni0 is in zone k3s at runtime and in no zone permanently: its pods", ""),
        # Alone in a zone at runtime, but not after a reload.
        (
            "work",
            "public",
            "cni0 is in zone work at runtime and in zone public permanently: pods are allowed by "
            "zone public because of their address, and by eth0 so is any host that spoofs one",
            "salt s1 cmd.run 'firewall-cmd --zone=work --remove-interface=cni0 && firewall-cmd "
            "--permanent --zone=public --remove-interface=cni0' && ",
        ),
    ],
)
def test_pods_in_another_zone_are_judged_by_it(runtime, permanent, words, commands):
    layers = [layer() if zone == "k3s" else pods_in(zone, "cni0") for zone in (runtime, permanent)]
    check = only(facts(*layers))
    assert check.status is Status.CONFLICT
    assert check.evidence.startswith(words)
    assert check.hint == f"{commands}salt s1 state.apply k3s.firewall"


def test_pods_in_a_zone_of_their_own_are_fine():
    found = facts(pods_in("work", *PODS), pods_in("work", *PODS))
    assert problems(found) == []
    evidence = [check.evidence for check in judge_zones(situation(), found)]
    assert (
        "cni0 is in zone work (at runtime and permanently): pods are allowed by zone work because "
        "of their address, and nothing else comes in by it"
    ) in evidence


def test_pods_in_an_accepting_zone_of_their_own_are_fine():
    zone = pods_in("trusted", *PODS)
    trusted = zone.zones["trusted"].with_settings({"target": "ACCEPT"})
    zone = ZoneLayer({**zone.zones, "trusted": trusted}, "public")
    assert problems(facts(zone, zone)) == []


def test_networkmanager_must_release_an_interface_first():
    found = facts(pods_in("public", "cni0"), pods_in("public", "cni0"))
    found = replace(found, connections={"cni0": NmConnection("cni0", "public")})
    assert only(found).hint.startswith("salt s1 state.apply k3s.routes && salt s1 cmd.run ")


def test_a_network_plugin_with_unknown_interfaces_is_not_judged_by_them():
    found = facts(layer(k3s={"interfaces": ()}), layer(k3s={"interfaces": ()}))
    assert problems(found, situation(flannel_backend="none")) == []


# -- sources that catch traffic of the cluster ----------------------------------------------------


@pytest.mark.parametrize(
    ("source", "who"),
    [
        ("192.0.2.12", "s2"),
        ("192.0.2.0/24", "a1, a2, s1, s2, s3"),
        ("2001:db8::/32", "a1, s1, s2"),
        ("203.0.113.0/24", "the Salt master"),
        ("ipset:nodes", "a1, a2, s2"),
    ],
)
def test_a_source_that_matches_nodes_or_the_master_is_a_conflict(source, who):
    check = only(both(home={"sources": (source,)}))
    assert check.status is Status.CONFLICT
    assert check.evidence == (
        f"source {source} of zone home (at runtime and permanently) matches {who}: rows allow them "
        "as before, but all their other packets, ssh too, are judged by that zone and not by that "
        "of the interface"
    )
    assert check.hint == (
        f"salt s1 cmd.run 'firewall-cmd --zone=home --remove-source={source} && firewall-cmd "
        f"--permanent --zone=home --remove-source={source}'"
    )


@pytest.mark.parametrize("source", ["198.51.100.0/24", "ipset:friends", "ipset:empty"])
def test_a_source_of_others_is_the_operators_own(source):
    assert problems(both(home={"sources": (source,)})) == []


@pytest.mark.parametrize("source", ["10.42.0.0/16", "10.42.1.0/24", "10.0.0.0/8", "10.43.0.1"])
def test_a_source_that_matches_pods_is_a_conflict(source):
    check = only(facts(permanent=layer(home={"sources": (source,)})))
    assert check.status is Status.CONFLICT
    assert "(permanently: from the next reload on) matches" in check.evidence
    assert "spoofs a pod's address is treated as a pod, on every interface" in check.evidence


def test_pods_as_a_source_of_trusted_allow_any_host_that_spoofs_one():
    trusted = {"target": "ACCEPT", "sources": ("10.42.0.0/16", "10.43.0.0/16")}
    checks = [
        c for c in judge_zones(situation(), both(trusted=trusted)) if c.status is not Status.OK
    ]
    assert [check.status for check in checks] == [Status.EXPOSED] * 2
    assert checks[0].evidence == (
        "source 10.42.0.0/16 of zone trusted (at runtime and permanently) matches pods "
        "(10.42.0.0/16): everything from them is accepted, whatever the rows say, and from any "
        "host that spoofs one of them"
    )


def test_nodes_as_a_source_of_trusted_reach_ports_that_rows_deny_them():
    found = facts(runtime=layer(trusted={"target": "ACCEPT", "sources": ("192.0.2.21",)}))
    assert problems(found) == [
        "exposed sources -> s1: source 192.0.2.21 of zone trusted (at runtime) matches a1: "
        "everything from them is accepted, whatever the rows say. Fix: salt s1 cmd.run "
        "'firewall-cmd --zone=trusted --remove-source=192.0.2.21'"
    ]


@pytest.mark.parametrize("source", ["00:11:22:33:44:55", "ipset:with-time-outs", "ipset:cards"])
def test_a_source_whose_addresses_are_not_known_is_unproven(source):
    check = only(both(home={"sources": (source,)}))
    assert (check.status, check.hint) == (
        Status.UNPROVEN,
        "see firewall-cmd --info-zone=home",
    )


# -- zones that let in more than the tables -------------------------------------------------------

SCRIPT = {
    "ports": (
        *("2379-2380/tcp", "6443/tcp", "8472/udp", "10250/tcp", "5001/tcp", "9500/tcp"),
        *("8500/tcp", "80/tcp", "443/tcp", "3000/tcp", "9095/tcp", "9093/tcp", "9090/tcp"),
        "6379/tcp",
    ),
    "rules_str": (
        'rule family="ipv4" source address="10.42.0.0/16" accept',
        'rule family="ipv4" source address="10.43.0.0/16" accept',
    ),
}


def test_openings_of_the_source_script_are_to_be_adopted():
    assert problems(both(public={**PUBLIC, **SCRIPT})) == [
        "exposed tcp/80,5001,6443,8500,9500,10250 udp/8472 any, tcp/2379-2380 server -> s1: zone "
        "public (eth0) opens these ports to everyone (at runtime and permanently); rows api, "
        "etcd, http, kubelet, longhorn-agent, longhorn-api and 2 more allow fewer sources. "
        "Fix: salt s1 k3sfw.adopt",
        "exposed zones -> s1: zone public (eth0) accepts everything from 10.42.0.0/16, "
        "10.43.0.0/16 (at runtime and permanently), and so from any host that spoofs such an "
        "address; pods themselves come in by zone k3s. Fix: salt s1 k3sfw.adopt",
    ]


def test_the_same_in_another_zone_is_closed_there_in_each_layer_that_has_it():
    office = {"interfaces": ("eth0",), "ports": ("2379-2380/tcp", "8443/tcp")}
    check = only(facts(layer(office=office), layer(office={**office, "ports": ()})))
    assert (check.status, check.expect, check.description) == (
        Status.EXPOSED,
        "closed",
        "Etcd Service",
    )
    assert check.evidence == (
        "zone office (eth0) opens these ports to everyone (at runtime); row etcd allows fewer "
        "sources"
    )
    assert check.hint == (
        "salt s1 cmd.run 'firewall-cmd --zone=office --remove-port=2379-2380/tcp'"
    )


@pytest.mark.parametrize(
    ("element", "commands"),
    [
        (
            {"ports": ("2000-3000/tcp",)},
            "--remove-port=2000-3000/tcp && firewall-cmd --zone=office --add-port=2000-2378/tcp "
            "--add-port=2381-3000/tcp",
        ),
        (
            {"services": ("etcd", "ssh")},
            "--remove-service=etcd && firewall-cmd --zone=office --add-port=2381/tcp",
        ),
        ({"services": ("odd",)}, "--remove-service=odd"),
        ({"services": ("http",)}, "--remove-service=http"),
        ({"protocols": ("tcp",)}, "--remove-protocol=tcp"),
        ({"source_ports": ("53/udp",)}, "--remove-source-port=53/udp"),
        (
            {"rules_str": ('rule family="ipv4" port port="6443" protocol="tcp" accept',)},
            '--remove-rich-rule="rule family=ipv4 port port=6443 protocol=tcp accept"',
        ),
        (
            {"rules_str": ('<rule><service name="etcd"/><log prefix="a b"/><accept/></rule>',)},
            '--remove-rich-rule="rule service name=etcd log prefix=\\"a b\\" accept"',
        ),
        (
            {
                "rules_str": (
                    'rule family="ipv4" source address="192.0.2.21" port port="2379" '
                    'protocol="tcp" accept',
                )
            },
            '--remove-rich-rule="rule family=ipv4 source address=192.0.2.21 port port=2379 '
            'protocol=tcp accept"',
        ),
        (
            {"rules_str": ('rule service name="etcd" log prefix="$(reboot)" accept',)},
            "--remove-rich-rule='rule service name=etcd log prefix=\"$(reboot)\" accept'",
        ),
        (
            {"rules_str": ('rule source NOT address="192.0.2.12" accept',)},
            '--remove-rich-rule="rule source NOT address=192.0.2.12 accept"',
        ),
    ],
)
def test_every_kind_of_element_is_found_and_removed_as_it_is_written(element, commands):
    found = facts(layer(office={"interfaces": ("eth0",), **element}))
    hints = {c.hint for c in judge_zones(situation(), found) if c.status is Status.EXPOSED}
    (hint,) = hints
    salt, node, function, command = shlex.split(hint)
    assert (salt, node, function) == ("salt", "s1", "cmd.run")
    if "odd" not in commands:
        assert command == f"firewall-cmd --zone=office {commands}"


@pytest.mark.parametrize(
    "element",
    [
        {"ports": ("443/tcp", "3000/tcp", "6379/tcp")},  # Rows allow every source there.
        {"ports": ("8443/tcp", "2379/udp")},  # No row names these.
        {"services": ("https", "gre", "not-known")},
        {"protocols": ("gre", "icmp")},
        {"rules_str": ('rule family="ipv4" port port="2379" protocol="tcp" drop',)},
        {"rules_str": ('rule family="ipv4" source address="192.0.2.21" reject',)},
        {"rules_str": ('rule family="ipv4" icmp-type name="echo-request" accept',)},
        # No more than the rows.
        {
            "rules_str": (
                'rule family="ipv4" source address="192.0.2.12" port port="2379" protocol="tcp" '
                "accept",
                'rule family="ipv4" source ipset="nodes" port port="8443" protocol="tcp" accept',
            )
        },
        {"source_ports": ("53/sctp",)},
    ],
)
def test_openings_within_the_tables_are_the_operators_own(element):
    assert problems(both(office={"interfaces": ("eth0",), **element})) == []


WITH_VRRP = {
    **pillar()["ports"]["cluster"],
    "vrrp": {"protocol": "vrrp", "source": "server", "destination": "any"},
    "ping": {"protocol": "icmp", "source": "server", "destination": "any"},
}


@pytest.mark.parametrize(
    ("element", "commands"),
    [
        ({"protocols": ("vrrp",)}, "--remove-protocol=vrrp"),
        ({"protocols": ("112",)}, "--remove-protocol=112"),
        (
            {"rules_str": ('rule protocol value="vrrp" accept',)},
            '--remove-rich-rule="rule protocol value=vrrp accept"',
        ),
        (
            {"services": ("cluster",)},
            "--remove-service=cluster && firewall-cmd --zone=office --add-port=5405/udp && "
            "firewall-cmd --zone=office --add-protocol=50",
        ),
    ],
)
def test_a_zone_that_opens_a_protocol_to_more_than_its_row_is_exposed(element, commands):
    found = facts(layer(office={"interfaces": ("eth0",), **element}))
    service = ServiceDefinition(("5405/udp",), ("esp", "vrrp"))
    found = replace(found, services={**SERVICES, "cluster": service})
    ports = {**pillar()["ports"], "cluster": WITH_VRRP}
    check = only(found, situation(ports=ports))
    assert (check.status, check.protocol, check.port) == (Status.EXPOSED, "vrrp", "")
    assert shlex.split(check.hint)[3] == f"firewall-cmd --zone=office {commands}"


def test_a_zone_that_accepts_everything_from_a_peer_is_wider_than_the_row_of_a_protocol():
    ports = {"cluster": {"vrrp": WITH_VRRP["vrrp"]}, "manager": {}}
    trusted = {"target": "ACCEPT", "sources": ("198.51.100.0/24",)}
    check = only(facts(runtime=layer(trusted=trusted)), situation(ports=ports))
    assert (check.status, check.protocol) == (Status.EXPOSED, "vrrp")


def test_no_row_of_icmp_is_compared_with_zones_as_they_accept_it_from_everyone():
    ports = {"cluster": {"ping": WITH_VRRP["ping"]}, "manager": {}}
    found = facts(layer(office={"interfaces": ("eth0",), "protocols": ("icmp",)}))
    assert problems(found, situation(ports=ports)) == []


def test_hosts_of_a_zones_source_are_compared_with_the_rows():
    inside = {"sources": ("198.51.100.0/24",), "ports": ("2379/tcp", "443/tcp")}
    check = only(both(office=inside))
    assert (
        "zone office (198.51.100.0/24) opens these ports to 198.51.100.0/24 (at" in check.evidence
    )
    assert (check.protocol, check.port) == ("tcp", "2379")


def test_only_pods_behind_a_zone_meet_what_it_opens():
    zone = pods_in("work", *PODS)
    opened = zone.zones["work"].with_settings({"ports": ("2379/tcp",)})
    zone = ZoneLayer({**zone.zones, "work": opened}, "public")
    assert problems(facts(zone, zone)) == []


def test_rows_that_only_servers_open_count_on_an_agent():
    tree = pillar()
    cluster = tree["ports"]["cluster"]
    servers = {name: cluster.pop(name) for name in ("etcd", "api", "spegel")}
    tree["peer_ports"] = {"cluster": servers, "manager": {}}
    found = both(public={"ports": ("6443/tcp",)})
    check = only(found, situation(link("eth0", "192.0.2.21/24"), role="agent", **tree))
    assert (check.to, check.source, check.port) == ("a1", "any", "6443")


def test_missing_rows_of_the_other_role_are_reported():
    at = situation()
    check = only(facts(), replace(at, tables=replace(at.tables, peer_rows=None)))
    assert check.status is Status.UNPROVEN
    assert "the rows of this node only" in check.evidence


def test_an_uplink_in_an_accepting_zone_makes_all_rows_pointless():
    found = facts(permanent=layer(trusted={"target": "ACCEPT", "interfaces": ("eth0",)}))
    assert problems(found) == [
        "exposed zone -> s1: eth0 is in zone trusted (permanently: from the next reload on), which "
        "accepts everything: no row restricts anything. Fix: salt s1 cmd.run 'firewall-cmd "
        "--permanent --zone=public --change-interface=eth0'"
    ]


def test_containers_behind_a_bridge_in_such_a_zone_are_a_warning():
    at = situation(link("docker0", "198.51.100.1/24", kind="bridge"))
    check = only(both(docker={"target": "ACCEPT", "interfaces": ("docker0",)}), at)
    assert check.status is Status.CONFLICT
    assert check.hint.startswith("nothing, if")


def test_the_network_of_podmans_containers_stays_in_its_zone():
    trusted = {"target": "ACCEPT", "sources": ("10.88.0.0/16",)}
    podman = link("podman0", "10.88.0.1/16", kind="bridge")
    check = only(both(trusted=trusted), situation(podman))
    assert (check.status, check.hint.split(",")[0]) == (Status.CONFLICT, "nothing")
    # Without that bridge nothing says that they are containers of this host.
    checks = judge_zones(situation(), both(trusted=trusted))
    assert Status.EXPOSED in {each.status for each in checks}


def test_an_uplink_leaves_an_open_zone_only_with_its_ssh():
    found = both(trusted={"target": "ACCEPT", "interfaces": ("eth0",)})
    at = replace(situation(), host=HostFacts(ssh_ports=frozenset((22, 2222))))
    (problem,) = problems(found, at)
    assert problem.endswith(
        "Fix: salt s1 cmd.run 'firewall-cmd --zone=public --add-port=2222/tcp && firewall-cmd "
        "--permanent --zone=public --add-port=2222/tcp && firewall-cmd --zone=public "
        "--change-interface=eth0 && firewall-cmd --permanent --zone=public --change-interface=eth0'"
    )


def test_a_source_leaves_its_zone_only_with_its_ssh_and_opens_it_to_no_other():
    found = facts(layer(trusted={"target": "ACCEPT", "sources": ("192.0.2.0/24",)}))
    at = replace(situation(), host=HostFacts(ssh_ports=frozenset((2222,))))
    (problem,) = problems(found, at)
    assert problem.endswith(
        "Fix: salt s1 cmd.run 'firewall-cmd --zone=public "
        '--add-rich-rule="rule family=ipv4 source address=192.0.2.0/24 port port=2222 protocol=tcp '
        'accept" && firewall-cmd --zone=trusted '
        "--remove-source=192.0.2.0/24'"
    )


def test_a_row_of_ssh_does_not_close_the_zones_ssh_by_itself():
    ssh = {"admin": {"protocol": "tcp", "port": 22, "source": "192.0.2.0/24"}}
    at = situation(ports={"cluster": {}, "manager": ssh})
    at = replace(at, host=HostFacts(ssh_ports=frozenset((22,))))
    (problem,) = problems(facts(), at)
    assert "Fix: make sure that every client of ssh is among the sources of the row, then: " in (
        problem
    )


def test_a_zone_that_rejects_what_is_left_does_not_accept_everything():
    libvirt = {
        "target": "ACCEPT",
        "interfaces": ("virbr0",),
        "services": ("ssh",),
        "rules_str": ('rule priority="32767" reject',),
    }
    at = situation(link("virbr0", "198.51.100.1/24", kind="bridge"))
    assert problems(both(libvirt=libvirt), at) == []


def test_remote_pods_of_host_gw_come_in_by_their_address():
    rules = {"rules_str": SCRIPT["rules_str"]}
    assert problems(both(public={**PUBLIC, **rules}), situation(flannel_backend="host-gw")) == []


def test_a_row_for_everybody_of_one_family_is_narrower_in_the_other_if_the_node_has_it():
    opened = both(public={"ports": ("3000/tcp",)})
    at = situation(groups={"clients": ["0.0.0.0/0"]})
    assert "opens these ports to everyone by IPv6 (at runtime and" in only(opened, at).evidence
    at = situation(link("eth0", "192.0.2.11/24"), groups={"clients": ["0.0.0.0/0"]})
    assert problems(opened, at) == []


def test_an_office_that_is_trusted_reaches_more_than_the_tables_say():
    found = facts(layer(trusted={"target": "ACCEPT", "sources": ("ipset:friends",)}))
    checks = [c for c in judge_zones(situation(), found) if c.status is not Status.OK]
    assert {check.status for check in checks} == {Status.EXPOSED}
    assert {check.hint for check in checks} == {
        "salt s1 cmd.run 'firewall-cmd --zone=trusted --remove-source=ipset:friends'"
    }
    assert checks[0].evidence.startswith("zone trusted accepts everything from ipset:friends (at")


def test_an_interface_that_is_still_to_come_counts():
    found = facts(permanent=layer(office={"interfaces": ("wg0",), "ports": ("2379/tcp",)}))
    assert "zone office (wg0) opens these ports to everyone" in only(found).evidence


def test_networkmanagers_zone_decides_after_a_reload():
    found = facts(permanent=layer(public={"ports": ("2379/tcp",)}))
    assert "zone public (eth0)" in only(found).evidence
    found = replace(found, connections={"eth0": NmConnection("eth0", "work")})
    assert problems(found) == []


# -- what pods that are gone left behind ----------------------------------------------------------


def test_a_few_leftovers_are_listed_and_removed_by_name():
    gone = {"interfaces": ("cali0a", "eth0", "veth1", "wg0")}
    assert problems(both(work=gone), situation(link("veth1"))) == [
        "conflict leftovers -> s1: zone work has an interface of pods that no longer exist (at "
        "runtime and permanently): cali0a. Fix: salt s1 cmd.run 'firewall-cmd --zone=work "
        "--remove-interface=cali0a && firewall-cmd --permanent --zone=work "
        "--remove-interface=cali0a'"
    ]


def test_hundreds_of_leftovers_are_one_sentence_with_one_command():
    names = tuple(f"veth{number:08x}" for number in range(300)) + ("lxc0a",)
    check = only(facts(permanent=layer(work={"interfaces": names})))
    assert check.evidence == (
        "zone work has 301 interfaces of pods that no longer exist (permanently: from the next "
        "reload on): lxc0a, veth00000000, veth00000001, veth00000002, veth00000003, veth00000004 "
        "and 295 more"
    )
    assert len(check.hint) < 350
    assert "in lxc*|veth*)" in check.hint


# -- what is redirected past the rows -------------------------------------------------------------


def redirection(port, by="ServiceLB", service="", source="", family=4, protocol=Protocol.TCP):
    return Redirection(protocol, PortRange(port, port), family, by, service, source)


def test_rows_closed_by_dnat_are_reported():
    found = facts(redirected=[redirection(80, service="kube-system/traefik:web")])
    assert problems(found) == [
        "conflict tcp/80 any -> s1: row http cannot restrict these ports: ServiceLB of "
        "kube-system/traefik:web redirects them before any rule of this host; see docs/limits.md "
        "of k3sfw"
    ]


def test_a_row_for_everyone_is_not_bypassed_by_dnat():
    found = facts(redirected=[redirection(443), redirection(443, by="hostPort")])
    assert problems(found) == []
    checks = [c for c in judge_zones(situation(), found) if c.port == "443"]
    assert {(check.status, check.description) for check in checks} == {
        (Status.OK, "Ingress HTTPS Traffic")
    }


def test_dnat_for_the_sources_of_a_row_bypasses_nothing():
    at = situation(groups={"clients": ["198.51.100.0/24"]})
    assert problems(facts(redirected=[redirection(3000, source="198.51.100.0/25")]), at) == []
    found = facts(redirected=[redirection(3000, source="198.51.0.0/16")])
    assert problems(found, at)[0].startswith("conflict tcp/3000 clients -> s1: row grafana cannot")


def test_ports_that_no_row_names_are_one_sentence_with_nodeports_last():
    numbers = range(30000, 30040)
    redirected = [redirection(n, by="NodePort") for n in numbers]
    redirected.append(redirection(8081, by="hostPort"))
    (problem,) = problems(facts(redirected=redirected))
    assert problem == (
        "conflict redirections -> s1: 8081/tcp (hostPort), 30000/tcp (NodePort), 30001/tcp "
        "(NodePort), 30002/tcp (NodePort), 30003/tcp (NodePort), 30004/tcp (NodePort) and 35 more "
        "are open to everyone: NAT redirects before any rule of this host, and no row names that; "
        "see docs/limits.md of k3sfw"
    )


def test_a_port_that_a_zone_forwards_bypasses_the_rows_too():
    forwarding = {
        "forward_ports": ("2379/tcp/9/198.51.100.9", "81/tcp/82"),
        "rules_str": (
            'rule family="ipv4" source address="192.0.2.12" forward-port port="2380" '
            'protocol="tcp" to-port="9" to-addr="198.51.100.9"',
        ),
    }
    row, others = problems(facts(layer(public={**PUBLIC, **forwarding})))
    assert row.startswith(
        "conflict tcp/2379 server -> s1: row etcd cannot restrict these ports: a forward-port of "
        "zone public redirects them"
    )
    assert others.startswith(
        "conflict redirections -> s1: 81/tcp (a forward-port of zone public) is open to everyone: "
        "NAT redirects before any rule of this host, and no row names that"
    )
    # No interface uses this one.
    assert problems(facts(layer(work={**forwarding, "sources": ("198.51.100.0/24",)}))) == []


def test_with_strict_forwarding_the_report_says_what_decides():
    redirected = [redirection(80), redirection(30080, by="NodePort")]
    found = facts(redirected=redirected, strict_forward_ports=True)
    refused, *checks = [c for c in judge_zones(situation(), found) if c.status is not Status.OK]
    assert refused.status is Status.BAD_SETTING
    assert refused.evidence.startswith("is yes: firewalld rejects what others redirect")
    assert {check.status for check in checks} == {Status.UNPROVEN}
    assert all("(StrictForwardPorts=yes)" in check.evidence for check in checks)


def test_what_could_not_be_read_is_unproven():
    problem = Problem("iptables-save is not installed", "install the package iptables")
    check = only(facts(unread=[problem]))
    assert (check.status, check.problem) == (Status.UNPROVEN, problem)


# -- every interface ------------------------------------------------------------------------------


def test_every_interface_is_shown_and_pods_of_one_bridge_share_a_line():
    veths = [link(f"veth{n}", master="cni0", kind="veth") for n in range(300)]
    bond = (link("bond0", kind="bond"), link("eth1", master="bond0"))
    at = situation(*veths, *bond, link("wg0", "198.51.100.1/24"))
    trusted, work = {"target": "ACCEPT", "interfaces": ("wg0",)}, {"interfaces": ("veth7",)}
    connections = {"eth0": NmConnection("uplink", "public"), "wg0": NmConnection()}
    found = replace(facts(layer(trusted=trusted, work=work)), connections=connections)
    assert list_interfaces(at, found) == {
        "299 veth* on cni0": {
            "runtime": "public",
            "permanent": "",
            "network_manager": "unmanaged",
            "meaning": "part of cni0, by which its packets come in",
        },
        "veth7": {
            "runtime": "work",
            "permanent": "",
            "network_manager": "unmanaged",
            "meaning": "part of cni0, by which its packets come in",
        },
        "cni0": {
            "runtime": "k3s",
            "permanent": "k3s",
            "network_manager": "unmanaged",
            "meaning": "pods come in by it",
        },
        "flannel.1": {
            "runtime": "k3s",
            "permanent": "k3s",
            "network_manager": "unmanaged",
            "meaning": "pods come in by it",
        },
        "eth0": {
            "runtime": "public",
            "permanent": "",
            "network_manager": "managed (connection uplink, zone public)",
            "meaning": "the rows, then zone public",
        },
        "bond0": {
            "runtime": "public",
            "permanent": "",
            "network_manager": "unmanaged",
            "meaning": "the rows, then zone public",
        },
        "eth1": {
            "runtime": "public",
            "permanent": "",
            "network_manager": "unmanaged",
            "meaning": "part of bond0, by which its packets come in",
        },
        "wg0": {
            "runtime": "trusted",
            "permanent": "",
            "network_manager": "managed (no connection)",
            "meaning": "zone trusted accepts everything",
        },
    }
    assert {each["network_manager"] for each in list_interfaces(at, facts()).values()} == {""}


# -- rich rules -----------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_characters="<"), max_size=60))
def test_no_rule_makes_reading_fail(text):
    zone = as_read(Kind.ZONE, "office", {"rules_str": (text,), "ports": (text,)})
    list(openings(zone, SERVICES))


def test_every_zone_in_use_is_listed_with_its_target_in_both_layers():
    runtime = replace(layer("drop", public=None), targets={"drop": "DROP", "k3s": "default"})
    permanent = replace(
        layer("drop", public=None, storage={"target": "DROP", "interfaces": ("eth1",)}),
        targets={"drop": "DROP", "k3s": "DROP", "storage": "DROP", "work": "default"},
    )
    found = facts(
        replace(runtime, zones={"drop": as_read(Kind.ZONE, "drop", {}), **runtime.zones}), permanent
    )
    assert list_targets(found) == {
        "drop": {"runtime": "DROP", "permanent": "DROP"},
        "k3s": {"runtime": "default", "permanent": "DROP"},
        "storage": {"runtime": "", "permanent": "DROP"},
    }
