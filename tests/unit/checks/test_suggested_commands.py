"""A command that a message shows can be typed as it stands, whatever a node is called."""

from __future__ import annotations

import shlex

import netaddr
import pytest

from k3sfw_engine.checks import suggested_commands as suggested
from k3sfw_engine.model.interfaces_and_routes import Hop, Route
from k3sfw_engine.model.rows import Node, Role

# Salt accepts it as a minion id.
NODE = "node 1 & co"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (suggested.apply_firewall(NODE), ["state.apply", "k3s.firewall"]),
        (suggested.apply_routes(NODE), ["state.apply", "k3s.routes"]),
        (suggested.check_ports(NODE), ["k3sfw.check_ports"]),
        (suggested.check_routes(NODE), ["k3sfw.check_routes"]),
        (suggested.adopt(NODE), ["k3sfw.adopt"]),
        (suggested.heal(NODE), ["k3sfw.heal"]),
        (suggested.refresh_grains(NODE), ["saltutil.refresh_grains"]),
        (suggested.list_ruleset(NODE), ["cmd.run", "nft list ruleset"]),
        (suggested.list_zones(NODE), ["cmd.run", "firewall-cmd --list-all-zones"]),
        (suggested.run_on(NODE, "a 'b'", "c"), ["cmd.run", "a 'b' && c"]),
    ],
)
def test_a_shell_reads_the_node_as_one_word(command, words):
    assert shlex.split(command) == ["salt", NODE, *words]


def test_a_node_that_left_is_removed_by_its_key():
    assert shlex.split(suggested.delete_key(NODE)) == ["salt-key", "-d", NODE]


@pytest.mark.parametrize(("role", "unit"), [(Role.SERVER, "k3s"), (Role.AGENT, "k3s-agent")])
def test_k3s_is_restarted_by_the_unit_of_its_role(role, unit):
    node = Node(NODE, role, (netaddr.IPAddress("192.0.2.11"),))
    assert shlex.split(suggested.restart_k3s(node)) == [
        *("salt", NODE, "cmd.run", f"systemctl restart {unit}")
    ]


def test_a_zone_is_changed_in_its_layer_and_its_name_is_one_word():
    assert suggested.firewall_cmd("runtime", "work", "--add-port=1/tcp") == (
        "firewall-cmd --zone=work --add-port=1/tcp"
    )
    assert shlex.split(suggested.firewall_cmd("permanent", "my zone")) == [
        *("firewall-cmd", "--permanent", "--zone=my zone")
    ]


def test_a_route_is_removed_as_ip_shows_it():
    network = netaddr.IPNetwork("2001:db8::/64")
    route = Route(network, "unicast", (Hop("eth0", "2001:db8::1"),), metric=7)
    assert suggested.delete_route(route) == (
        "ip -6 route del 2001:db8::/64 via 2001:db8::1 dev eth0 metric 7"
    )
    blackhole = Route(netaddr.IPNetwork("10.0.0.0/8"), "blackhole", (), "52")
    assert suggested.route_in_words(blackhole) == "blackhole 10.0.0.0/8 table 52"
