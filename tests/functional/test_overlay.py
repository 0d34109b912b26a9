"""The tunnels of pods' packets are read from the kernel as they are, whatever their numbers."""

from pathlib import Path
from subprocess import DEVNULL

import pytest

from lab.wait import wait_until


def test_vxlan_devices_have_their_own_number_port_address_and_link(node):
    node.run(
        "sh",
        "-ec",
        """
        ip link add flannel.42 type vxlan id 42 dstport 4789 dev eth0 local 192.0.2.11
        ip link add flannel-v6.42 type vxlan id 42 dstport 4789 dev eth0 local 2001:db8::11
        ip link add mine type vxlan external dstport 8472
        ip link add veth0 type veth peer name cali0
        """,
    )
    found = node.call("overlay")
    assert found["devices"] == {
        "flannel-v6.42": ["vxlan", 42, 4789, "2001:db8::11", "eth0"],
        "flannel.42": ["vxlan", 42, 4789, "192.0.2.11", "eth0"],
        "mine": ["vxlan", 0, 8472, "None", ""],
    }
    assert (found["flannel"], found["unread"]) == (["flannel-v6.42", "flannel.42"], [])


def test_routes_by_a_gateway_are_read_in_both_families_and_with_several_hops(node):
    node.run(
        "sh",
        "-ec",
        """
        ip route add 10.42.2.0/24 via 192.0.2.12
        ip route add 10.42.5.0/24 nexthop via 192.0.2.15 nexthop via 192.0.2.16
        ip route add 10.42.6.0/24 dev eth0
        ip route add 10.42.7.0/24 via 192.0.2.17 table 52
        ip route add blackhole 10.42.0.0/16
        ip -6 route add fd42::2:0/112 via 2001:db8::12
        """,
    )
    assert node.call("overlay")["routes"] == [
        "10.42.2.0/24 via 192.0.2.12 dev eth0",
        "10.42.5.0/24 via 192.0.2.15 dev eth0",
        "10.42.5.0/24 via 192.0.2.16 dev eth0",
        "fd42::2:0/112 via 2001:db8::12 dev eth0",
    ]


def test_wireguard_in_user_space_tells_its_port(node):
    if not Path("/dev/net/tun").exists():
        pytest.skip("this machine has no tun devices, which WireGuard in user space needs")
    process = node.host.popen(
        ["wireguard-go", "--foreground", "flannel-wg"], stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        wait_until(
            lambda: node.host.run(["wg", "show", "flannel-wg"], check=False).returncode == 0,
            "No flannel-wg",
            timeout=10,
        )
        node.run("wg", "set", "flannel-wg", "listen-port", "51899")
        assert node.call("overlay")["devices"] == {"flannel-wg": ["tun", None, 51899, "None", ""]}
    finally:
        process.terminate()
        process.wait(10)
