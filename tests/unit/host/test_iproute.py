"""What ip and bridge print becomes facts: judged by what they printed on a real node.

``data/network.json`` is of a node of a dual-stack lab with flannel's vxlan devices, two peers, and
routes of every kind (iproute2 6.1.0).
"""

from __future__ import annotations

import copy
import json
import os
import stat

import netaddr
import pytest

from k3sfw_engine.errors import NetworkUnreadable
from k3sfw_engine.host import run_program
from k3sfw_engine.host.iproute import look_up, parse_network, read_network
from k3sfw_engine.model.interfaces_and_routes import (
    Forwarding,
    Hop,
    Lookup,
    Neighbour,
    Rule,
    overlay_peers,
)
from tests.paths import UNIT_DATA

CAPTURED = json.loads(UNIT_DATA.joinpath("network.json").read_text())
ADDRESSES, ROUTES, NEIGHBOURS, RULES = range(4)


def parsed(change=lambda capture: None):
    capture = copy.deepcopy(CAPTURED)
    change(capture)
    return parse_network(
        capture["targets"],
        "".join(json.dumps(each) + "\n" for each in capture["ip"]),
        "\n".join(capture["errors"]),
        json.dumps(capture["bridge"]),
    )


@pytest.fixture(scope="module")
def node():
    return parsed()


def test_an_interface_has_its_state_its_mtu_and_its_global_addresses(node):
    eth0 = node.interfaces["eth0"]
    assert (eth0.up, eth0.carrier, eth0.mtu, eth0.kind) == (True, True, 1500, "veth")
    assert [str(address) for address in eth0.addresses] == ["192.0.2.11/24", "2001:db8::11/64"]


def test_a_port_of_a_bridge_has_its_name(node):
    assert (node.interfaces["pod"].master, node.interfaces["eth0"].master) == ("cni0", "")


def test_a_vxlan_device_names_its_number_its_address_its_port_and_what_carries_it(node):
    assert node.interfaces["flannel.1"].details == {
        "id": "1",
        "local": "192.0.2.11",
        "link": "eth0",
        "port": "8472",
    }
    assert node.interfaces["flannel-v6.1"].details["local"] == "2001:db8::11"
    assert node.interfaces["eth0"].details == {}


def routes(node, destination):
    return [each for each in node.routes if str(each.destination) == destination]


def test_default_routes_are_known_by_their_family(node):
    (ipv4,), (ipv6,) = routes(node, "0.0.0.0/0"), routes(node, "::/0")
    assert (ipv4.device, ipv4.gateway) == ("eth0", "192.0.2.10")
    assert (ipv6.device, ipv6.gateway) == ("eth0", "2001:db8::10")


def test_a_default_route_of_ipv4_may_have_a_gateway_of_ipv6():
    def borrow(capture):
        capture["ip"][ROUTES].append(
            {"dst": "default", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "eth0"}
        )

    assert routes(parsed(borrow), "0.0.0.0/0")[-1].gateway == "fe80::1"


def test_an_ipv6_route_by_a_device_alone_is_one_of_ipv6():
    def by_device(capture):
        capture["ip"][ROUTES].append({"dst": "default", "dev": "wg0", "pref": "medium"})

    assert [each.device for each in routes(parsed(by_device), "::/0")] == ["eth0", "wg0"]


def test_an_overlay_route_is_onlink_by_its_device(node):
    (route,) = routes(node, "10.42.3.0/24")
    assert (route.device, route.gateway, route.onlink) == ("flannel.1", "10.42.3.0", True)


def test_a_route_of_several_hops_has_them_all(node):
    (route,) = routes(node, "203.0.116.0/24")
    assert route.hops == (Hop("eth0", "192.0.2.5"), Hop("eth0", "192.0.2.6"))


@pytest.mark.parametrize(
    ("destination", "kind"),
    [
        ("203.0.113.0/24", "blackhole"),
        ("203.0.114.0/24", "prohibit"),
        ("203.0.115.0/24", "unreachable"),
        ("fd99::/64", "blackhole"),
    ],
)
def test_a_route_that_refuses_has_its_kind_and_no_hop(node, destination, kind):
    (route,) = routes(node, destination)
    assert (route.kind, route.hops) == (kind, ())


def test_routes_of_other_tables_are_read_too(node):
    assert [each.destination for each in node.routes if each.table == "100"] == [
        netaddr.IPNetwork("198.51.100.0/24")
    ]


def test_routes_that_the_kernel_makes_of_its_own_addresses_are_left_out(node):
    assert {each.kind for each in node.routes} == {
        "unicast",
        "blackhole",
        "prohibit",
        "unreachable",
    }
    assert not [each for each in node.routes if each.table == "local"]


def test_a_rule_has_its_priority_its_source_and_its_table(node):
    assert Rule(30400, "192.0.2.11", "100") in node.rules
    assert Rule(32766, "all", "main") in node.rules


def test_a_kernel_without_policy_routing_has_no_rules():
    def refuse(capture):
        del capture["ip"][RULES]
        capture["errors"][:0] = ["RTNETLINK answers: Operation not supported"]
        capture["errors"][1:1] = ["Dump terminated", "Command failed -:4"]

    assert parsed(refuse).rules == ()


# -- look-ups -------------------------------------------------------------------------------------


def test_a_lookup_tells_device_gateway_and_source(node):
    assert node.lookups["192.0.2.12"] == Lookup(
        "192.0.2.12", "unicast", "eth0", "", "192.0.2.11", "main"
    )
    assert node.lookups["2001:db8::12"].source == "2001:db8::11"
    assert node.lookups["10.42.3.1"].gateway == "10.42.3.0"
    assert node.lookups["203.0.117.9"].gateway == "2001:db8::99"


def test_the_way_to_an_own_address_is_local(node):
    assert node.lookups["192.0.2.11"].kind == "local"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("203.0.113.9", "Invalid argument"),
        ("203.0.114.9", "Permission denied"),
        ("203.0.115.9", "No route to host"),
        ("fd99::1", "Invalid argument"),
    ],
)
def test_a_lookup_that_fails_is_told_from_its_neighbours_in_the_batch(node, target, error):
    assert node.lookups[target] == Lookup(target, error=error)


# -- the overlay ----------------------------------------------------------------------------------


def test_every_peer_of_the_overlay_is_found_in_both_families(node):
    assert overlay_peers(node) == {
        "192.0.2.12": "10.42.2.0",
        "192.0.2.21": "10.42.3.0",
        "2001:db8::12": "fd42::2:0",
        "2001:db8::21": "fd42::3:0",
    }


def test_entries_are_facts_of_their_device(node):
    assert Neighbour("10.42.2.0", "flannel.1", "02:00:00:00:00:02") in node.neighbours
    assert Forwarding("02:00:00:00:00:02", "flannel.1", "192.0.2.12") in node.forwarding


def without_forwarding(capture):
    capture["bridge"] = [each for each in capture["bridge"] if each.get("dst") != "192.0.2.12"]


def without_neighbour(capture):
    capture["ip"][NEIGHBOURS] = [
        each for each in capture["ip"][NEIGHBOURS] if each["dst"] != "10.42.2.0"
    ]


def failed_neighbour(capture):
    for each in capture["ip"][NEIGHBOURS]:
        if each["dst"] == "10.42.2.0":
            del each["lladdr"]
            each["state"] = ["FAILED"]


@pytest.mark.parametrize("change", [without_forwarding, without_neighbour, failed_neighbour])
def test_a_peer_with_half_of_its_entries_is_no_peer(change):
    assert sorted(overlay_peers(parsed(change))) == ["192.0.2.21", "2001:db8::12", "2001:db8::21"]


def test_a_vxlan_device_of_somebody_else_has_no_peers():
    def rename(capture):
        for link in capture["ip"][ADDRESSES]:
            if link["ifname"].startswith("flannel"):
                link["ifname"] = link["ifname"].replace("flannel", "kubevirt")

    assert overlay_peers(parsed(rename)) == {}


# -- what cannot be read --------------------------------------------------------------------------


def test_a_batch_that_ended_early_is_no_empty_answer():
    def cut(capture):
        del capture["ip"][-1]
        capture["errors"].append('Error: any valid prefix is expected rather than "x".')

    with pytest.raises(NetworkUnreadable, match=r"answered 17 of 18 .*any valid prefix.* Fix: "):
        parsed(cut)


def test_a_listing_that_failed_is_no_empty_list():
    def refuse(capture):
        del capture["ip"][NEIGHBOURS]
        capture["errors"][:0] = ["RTNETLINK answers: Operation not permitted", "Command failed -:3"]

    with pytest.raises(NetworkUnreadable, match=r"neigh show.*Operation not permitted.*Fix: "):
        parsed(refuse)


def test_an_ip_that_prints_no_json_is_refused():
    with pytest.raises(NetworkUnreadable, match=r"JSON.*Fix: update the package iproute2"):
        parse_network([], "1: lo: <LOOPBACK>\n", "", "[]")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of ours in the place of ip and bridge, by what they print."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # The folders that are searched beside PATH have the real ones.
    which = run_program.shutil.which
    monkeypatch.setattr(
        run_program.shutil, "which", lambda name, path: which(name, path=str(tmp_path))
    )

    def make(name, script):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return make


@pytest.mark.parametrize("lacking", ["ip", "bridge"])
def test_a_program_that_is_not_there_is_named_with_its_package(programs, lacking):
    programs({"ip": "bridge", "bridge": "ip"}[lacking], "cat >/dev/null; exit 1")
    with pytest.raises(NetworkUnreadable, match=f"^{lacking} is not installed.*Fix: install"):
        read_network([])


def test_an_ip_that_knows_no_json_is_refused_with_its_own_words(programs):
    programs("ip", 'echo \'Option "-j" is unknown, try "ip -help".\' >&2; exit 255')
    programs("bridge", "echo '[]'")
    with pytest.raises(NetworkUnreadable, match='Option "-j" is unknown.*Fix: update'):
        read_network(["192.0.2.12"])


def test_a_bridge_that_fails_is_no_empty_list(programs):
    programs("ip", "cat >/dev/null; for i in 1 2 3 4; do echo '[]'; done")
    programs("bridge", "echo 'RTNETLINK answers: Operation not permitted' >&2; exit 2")
    with pytest.raises(NetworkUnreadable, match=r"bridge fails \(RTNETLINK answers: Operation"):
        read_network([])


def test_the_machine_that_runs_the_tests_can_be_read():
    found = read_network(["127.0.0.1", "127.0.0.1"])
    assert found.lookups["127.0.0.1"].kind == "local"
    assert "lo" in found.interfaces


def test_nothing_is_started_to_look_up_nothing(programs):
    assert look_up([]) == {}


def test_more_addresses_can_be_looked_up_later():
    assert look_up(["127.0.0.1"])["127.0.0.1"].kind == "local"
