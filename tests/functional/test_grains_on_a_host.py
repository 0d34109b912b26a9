"""What the grains see of real links: cards, flannel's device, virtual addresses, bridges, a VPN."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.unit.salt.k3s_hosts import CONFIGURATION, DATA, Host

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

# Prints the grains of a node whose files are below the folder, and the processor time that it took.
READ = f"""
import json, sys, time
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}]
from _grains import k3s
begin = time.process_time()
grains = k3s._node(Path(sys.argv[1]), {{}}, k3s._kernel.read_network)
print(json.dumps([grains, time.process_time() - begin]))
"""
TWO_CARDS = """
ip link set lo up
for card in eth0 eth1 tailscale0 kube-ipvs0; do
    ip link add $card type veth peer name peer-$card
    ip link set peer-$card up
    ip link set $card up
done
ip address add 192.0.2.11/24 dev eth0
ip -6 address add 2001:db8::11/64 dev eth0 nodad
ip address add 10.0.0.11/24 dev eth1
ip address add 100.64.0.11/32 dev tailscale0
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8::1
ip link add virbr0 type bridge
ip address add 192.168.122.1/24 dev virbr0
ip link set virbr0 up
ip address add 10.43.0.10/32 dev kube-ipvs0
"""


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.install_sh("server")
    return host


def read(host, *commands):
    """The grains of the host after these commands in a network of its own."""
    script = f"set -e\n{TWO_CARDS}\n" + "\n".join(commands)
    script += '\nexec "$@"'
    command = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-c", READ, host.root]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def addresses(host, *commands):
    return read(host, *commands)[0]["k3s_node_ips"]


def test_k3s_own_choice_is_that_of_the_default_route(host):
    grains, _seconds = read(host)
    assert grains["k3s_node_ips"] == ["192.0.2.11", "2001:db8::11"]
    assert "k3s_doubts" not in grains


def test_the_local_address_of_flannels_device_counts(host):
    host.write(CONFIGURATION, "node-ip: 192.0.2.11\n")
    local = "ip link add flannel.42 type vxlan id 42 local 10.0.0.11 dev eth1 dstport 4789"
    assert addresses(host, local, "ip link set flannel.42 up") == ["10.0.0.11", "192.0.2.11"]


def test_the_kernels_choice_towards_a_server_counts(host):
    host.write(CONFIGURATION, "node-ip: 192.0.2.11\nserver: https://10.9.9.9:6443\n")
    route = "ip route add 10.9.9.9 dev eth1"
    assert addresses(host) == ["192.0.2.11"]
    assert addresses(host, route) == ["10.0.0.11", "192.0.2.11"]


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_virtual_address_is_not_the_nodes(order, host):
    virtual = "ip address add 192.0.2.100/32 dev eth0"
    again = [
        "ip address del 192.0.2.11/24 dev eth0",
        virtual,
        "ip address add 192.0.2.11/24 dev eth0",
    ]
    commands = again if order == "first" else [virtual]
    route = "ip route replace default via 192.0.2.1"
    assert addresses(host, *commands, route) == ["192.0.2.11", "2001:db8::11"]


def test_over_tailscale_its_address_counts(host):
    host.write(CONFIGURATION, "vpn-auth: name=tailscale,joinKey=x\nnode-ip: 10.0.0.11\n")
    assert addresses(host) == ["100.64.0.11"]


def test_a_deprecated_or_temporary_address_is_not_chosen(host):
    deprecated = "ip -6 address add 2001:db8::bad/64 dev eth0 nodad preferred_lft 0"
    assert addresses(host, deprecated) == ["192.0.2.11", "2001:db8::11"]


def test_the_grains_take_a_few_milliseconds_on_a_host_with_many_pods(host):
    host.write(f"{DATA}/agent/etc/flannel/net-conf.json", '{"Network": "10.42.0.0/16"}')
    pods = (
        "for n in $(seq 200); do echo link add veth$n type veth peer name pod$n; done | ip -batch -"
    )
    _grains, seconds = read(host, pods)
    assert seconds < 0.05
