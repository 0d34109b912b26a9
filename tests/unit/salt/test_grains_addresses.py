"""The addresses by which peers see a node: advertised, sent from, and nothing else."""

from __future__ import annotations

import datetime
import ipaddress
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from _grains import k3s
from _grains._k3s_kernel import Link
from tests.unit.salt.k3s_hosts import (
    CONFIGURATION,
    DATA,
    ETH0,
    TWO_CARDS,
    Host,
    address,
    network,
)

NET_CONF = f"{DATA}/agent/etc/flannel/net-conf.json"
LOAD_BALANCER = f"{DATA}/agent/etc/k3s-agent-load-balancer.json"
# What hosts have beside their cards: bridges, pods, services, overlays of the operator.
BESIDE = {
    "antrea-gw0": ["10.42.0.9/24"],
    "br-0123456789ab": ["172.18.0.1/16"],
    "cali1": ["169.254.1.1/32"],
    "cilium_host": ["10.0.1.5/32"],
    "cni0": ["10.42.0.1/24"],
    "docker0": ["172.17.0.1/16"],
    "dummy0": ["198.51.100.3/24"],
    "incusbr0": ["10.11.12.1/24"],
    "kube-ipvs0": ["10.43.0.10/32"],
    "lo": ["127.0.0.1/8", "::1/128"],
    "lxc1234": ["10.0.3.9/24"],
    "lxcbr0": ["10.0.3.1/24"],
    "lxdbr0": ["10.142.7.1/24"],
    "nerdctl0": ["10.4.0.1/24"],
    "nodelocaldns": ["169.254.20.10/32", "10.43.0.10/32"],
    "ovn-k8s-mp0": ["10.244.0.2/24"],
    "podman0": ["10.88.0.1/16"],
    "tunl0": ["10.42.0.7/32"],
    "virbr0": ["192.168.122.1/24"],
    "vxlan.calico": ["10.42.0.8/32"],
    "weave": ["10.32.0.1/12"],
    "wg0": ["10.9.0.1/24"],
    "wireguard.cali": ["10.42.0.6/32"],
    "zt7nnig34r": ["10.147.17.3/24"],
}


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.install_sh("server")
    return host


def vxlan(local, name="flannel.1"):
    (holder,) = network({"x": [f"{local}/32"]}).addresses
    return Link(name, "vxlan", True, (holder.ip,))


def certificate(host, *addresses):
    """Write the kubelet's certificate with these addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "s1")])
    names = [x509.DNSName("s1"), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
    now = datetime.datetime(2026, 1, 1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    host.write(f"{DATA}/agent/serving-kubelet.crt", made.public_bytes(serialization.Encoding.PEM))


# --- what K3s advertises ---


def test_k3s_own_choice_is_that_of_the_default_route_in_both_families(host):
    cards = {"eth1": ["10.0.0.11/24"], "eth0": ["192.0.2.11/24", "2001:db8::11/64"]}
    assert host.addresses(cards) == ["192.0.2.11", "2001:db8::11"]


def test_node_ip_on_the_inner_card_keeps_the_address_from_which_flannel_sends(host):
    host.write(CONFIGURATION, "node-ip: 10.0.0.11\n")
    assert host.addresses(TWO_CARDS) == ["10.0.0.11", "192.0.2.11"]


def test_flannel_iface_chooses_both(host):
    host.write(CONFIGURATION, "flannel-iface: eth1\n")
    assert host.addresses(TWO_CARDS) == ["10.0.0.11"]


@pytest.mark.parametrize("external", ["203.0.113.11", "2001:db8:1::11"])
def test_an_external_address_counts_though_no_card_has_it(external, host):
    host.write(CONFIGURATION, f"node-ip: 10.0.0.11\nnode-external-ip: {external}\n")
    grains = host.grains({"eth0": ["10.0.0.11/24"]})
    assert grains["k3s_node_ips"] == ["10.0.0.11", external]
    assert "k3s_doubts" not in grains


@pytest.mark.parametrize(
    "how",
    ["vpn-auth: name=tailscale,joinKey=x", "vpn-auth-file: /etc/k3s.vpn", "K3S_VPN_AUTH"],
)
def test_over_tailscale_its_addresses_count_and_node_ip_does_not(how, tmp_path):
    host = Host(tmp_path)
    host.install_sh("agent", environment=f"{how}='name=tailscale'\n" if how[0] == "K" else "")
    host.write(CONFIGURATION, f"{'' if how[0] == 'K' else how}\nnode-ip: 192.0.2.11\n")
    cards = {**ETH0, "tailscale0": ["100.64.0.11/32", "fd7a:115c:a1e0::11/128"]}
    assert host.addresses(cards) == ["100.64.0.11", "fd7a:115c:a1e0::11"]


def test_over_tailscale_without_an_address_k3s_choice_stays_and_is_said(host):
    host.write(CONFIGURATION, "vpn-auth: name=tailscale\n")
    assert host.addresses(ETH0) == ["192.0.2.11", "2001:db8::11"]
    assert len(host.doubts(ETH0)) == 1


def test_an_interface_that_the_operator_names_counts_whatever_it_is(host):
    host.write(CONFIGURATION, "flannel-iface: wg0\n")
    assert host.addresses({**ETH0, **BESIDE}) == ["10.9.0.1"]
    host.write(CONFIGURATION, "flannel-iface: docker0\nnode-ip: 198.51.100.3\n")
    assert host.addresses({**ETH0, **BESIDE}) == ["172.17.0.1", "198.51.100.3"]


def test_an_address_of_no_card_is_said(host):
    host.write(CONFIGURATION, "node-ip: 192.0.2.99\n")
    assert len(host.doubts(ETH0)) == 1


# --- from where it sends ---


def test_the_source_of_flannels_device_counts_and_replaces_the_guess(host):
    host.write(CONFIGURATION, "node-ip: 10.0.0.11\n")
    cards = {**TWO_CARDS, "eth2": ["203.0.113.11/24"]}
    found = host.addresses(cards, links=[vxlan("203.0.113.11", "flannel.42")])
    assert found == ["10.0.0.11", "203.0.113.11"]


def test_a_vxlan_device_that_is_not_flannels_says_nothing(host):
    cards = {**ETH0, "eth2": ["203.0.113.11/24"]}
    assert host.addresses(cards, links=[vxlan("203.0.113.11", "vx0")]) == host.addresses(ETH0)


@pytest.mark.parametrize("where", ["flag", "file"])
def test_without_flannel_its_interface_does_not_count(where, tmp_path):
    host = Host(tmp_path)
    host.install_sh("server", *(["--flannel-backend=none"] if where == "flag" else []))
    flag = "flannel-backend: none\n" if where == "file" else ""
    host.write(CONFIGURATION, f"{flag}node-ip: 10.0.0.11\n")
    assert host.addresses(TWO_CARDS) == ["10.0.0.11"]


def test_an_agent_that_has_run_without_flannels_file_has_no_flannel(tmp_path):
    host = Host(tmp_path)
    host.install_sh("agent", "--node-ip=10.0.0.11")
    assert host.addresses(TWO_CARDS) == ["10.0.0.11", "192.0.2.11"]
    host.write(f"{DATA}/agent/serving-kubelet.crt")
    assert host.addresses(TWO_CARDS) == ["10.0.0.11"]
    host.write(NET_CONF, '{"Network": "10.42.0.0/16", "Backend": {"Type": "wireguard"}}')
    assert host.addresses(TWO_CARDS) == ["10.0.0.11", "192.0.2.11"]


@pytest.mark.parametrize("known_by", ["environment", "file", "name", "balancer"])
def test_the_source_towards_a_known_server_counts(known_by, tmp_path):
    host = Host(tmp_path)
    url = "https://s1.example:6443" if known_by == "name" else "https://198.51.100.1:6443"
    environment = f"K3S_URL='{url}'\n" if known_by in ("environment", "name") else ""
    host.install_sh("agent", "--node-ip=10.0.0.11", "--flannel-iface=eth1", environment=environment)
    if known_by == "file":
        host.write(CONFIGURATION, f"server: {url}\n")
    if known_by == "name":
        host.write("etc/hosts", "127.0.0.1 localhost\n198.51.100.1 s1 S1.example # first\n")
    if known_by == "balancer":
        balancer = {"ServerURL": "https://other:6443", "ServerAddresses": ["198.51.100.1:6443", 5]}
        host.write(LOAD_BALANCER, json.dumps(balancer))
    found = host.addresses(TWO_CARDS, sources={"198.51.100.1": "192.0.2.11"})
    assert found == ["10.0.0.11", "192.0.2.11"]


def test_the_source_towards_an_address_of_its_own_says_nothing(host):
    host.write(CONFIGURATION, "server: https://192.0.2.100:6443\n")
    cards = {"eth0": ["192.0.2.11/24", "192.0.2.100/32"]}
    grains = host.grains(cards, sources={"192.0.2.100": "192.0.2.100"})
    assert grains["k3s_node_ips"] == ["192.0.2.11"]
    assert "k3s_doubts" not in grains


# --- what is not the node's ---


def test_nothing_beside_the_cards_is_ever_claimed(host):
    assert host.addresses({**BESIDE, **ETH0}) == ["192.0.2.11", "2001:db8::11"]


def test_without_a_default_route_the_cards_count_and_it_is_said(host):
    grains = host.grains({**BESIDE, **ETH0, "eth1": ["10.0.0.11/24"]}, gateway="")
    assert grains["k3s_node_ips"] == ["10.0.0.11", "192.0.2.11", "2001:db8::11"]
    assert len(grains["k3s_doubts"]) == 1


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("virtual", ["192.0.2.100/32", "2001:db8::100/128"])
def test_a_virtual_address_is_not_the_nodes(virtual, order, host):
    addresses = ["192.0.2.11/24", "2001:db8::11/64", virtual][::order]
    assert host.addresses({"eth0": addresses}) == ["192.0.2.11", "2001:db8::11"]


def test_a_virtual_address_from_which_the_node_sends_is_said(host):
    cards = {"eth0": ["192.0.2.11/24", "192.0.2.100/32"]}
    grains = host.grains(cards, links=[vxlan("192.0.2.100")])
    assert grains["k3s_node_ips"] == ["192.0.2.11"]
    assert len(grains["k3s_doubts"]) == 1


def test_a_virtual_address_that_the_operator_names_counts(host):
    host.write(CONFIGURATION, "node-ip: 192.0.2.100\n")
    assert "192.0.2.100" in host.addresses({"eth0": ["192.0.2.11/24", "192.0.2.100/32"]})


def test_the_only_address_of_a_card_counts_however_narrow(host):
    assert host.addresses({"eth0": ["192.0.2.11/32", "2001:db8::11/128"]}) == [
        "192.0.2.11",
        "2001:db8::11",
    ]


def test_a_leased_address_counts_beside_an_announced_one(host):
    leased = address("eth0", "2001:db8::a/128", lasting=False)
    announced = address("eth0", "2001:db8::b/64", lasting=False)
    found = host.addresses({"eth0": ["192.0.2.11/24"]}, also=[leased, announced])
    assert found == ["192.0.2.11", "2001:db8::a"]


@pytest.mark.parametrize("flag", [{"temporary": True}, {"usable": False}])
def test_a_temporary_deprecated_or_unfinished_address_is_not_chosen(flag, host):
    spoilt = address("eth0", "2001:db8::bad/64", **flag)
    good = address("eth0", "2001:db8::11/64")
    cards = {"eth0": ["192.0.2.11/24"]}
    assert host.addresses(cards, also=[spoilt]) == ["192.0.2.11"]
    assert host.addresses(cards, also=[spoilt, good]) == ["192.0.2.11", "2001:db8::11"]


def test_a_temporary_source_is_said_and_not_claimed(host):
    host.write(CONFIGURATION, "server: https://[2001:db8:1::1]:6443\n")
    also = [address("eth0", "2001:db8::bad/64", temporary=True, lasting=False)]
    grains = host.grains(ETH0, also=also, sources={"2001:db8:1::1": "2001:db8::bad"})
    assert grains["k3s_node_ips"] == ["192.0.2.11", "2001:db8::11"]
    assert len(grains["k3s_doubts"]) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (NET_CONF, '{"Network": "10.0.0.0/16"}'),
        ("run/flannel/subnet.env", "FLANNEL_NETWORK=10.0.0.0/16\n"),
        ("run/flannel/subnet.env", "FLANNEL_SUBNET=10.0.0.1/24\n"),
        (f"{CONFIGURATION}.d/a.yaml", "cluster-cidr: 10.0.0.0/16\n"),
        (f"{CONFIGURATION}.d/a.yaml", "service-cidr: [fd00::/112, 10.0.0.0/16]\n"),
    ],
)
def test_an_address_of_a_pod_or_service_network_is_never_claimed(file, text, host):
    host.write(file, text)
    host.write(CONFIGURATION, "node-ip: 10.0.0.11\nserver: https://198.51.100.1:6443\n")
    grains = host.grains(TWO_CARDS, sources={"198.51.100.1": "10.0.0.11"})
    assert grains["k3s_node_ips"] == ["192.0.2.11"]
    assert len(grains["k3s_doubts"]) == 1


@pytest.mark.parametrize(
    "card", ["10.42.5.1/16", "10.43.0.10/16", "fd00:42::5/64", "fd00:43::a/112"]
)
def test_a_default_network_is_not_the_nodes_unless_it_is_told_so(card, host):
    ip = card.partition("/")[0]
    assert host.addresses({"eth0": ["192.0.2.11/24"], "eth1": [card]}, gateway="eth1") != [ip]
    host.write(CONFIGURATION, f"node-ip: '{ip}'\n")
    assert ip in host.addresses({"eth1": [card]}, gateway="eth1")


def test_a_default_network_is_free_where_the_pods_are_known_to_be_elsewhere(host):
    host.write(NET_CONF, '{"Network": "10.142.0.0/16"}')
    assert host.addresses({"eth0": ["10.42.5.1/16"]}) == ["10.42.5.1"]


# --- what K3s wrote down ---


def test_a_certificate_that_names_another_address_is_said(host):
    certificate(host, "192.0.2.11", "127.0.0.1", "::1", "2001:db8::11")
    assert host.doubts(ETH0) == []
    certificate(host, "192.0.2.11", "10.0.0.99", "127.0.0.1")
    (doubt,) = host.doubts(ETH0)
    assert "10.0.0.99" in doubt


@pytest.mark.parametrize("content", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END"])
def test_a_broken_certificate_says_nothing(content, host):
    host.write(NET_CONF, '{"Network": "10.42.0.0/16"}')
    host.write(f"{DATA}/agent/serving-kubelet.crt", content)
    assert host.doubts(ETH0) == []


def test_a_kernel_that_does_not_answer_is_said_and_leaves_the_configuration(host):
    def silent():
        raise OSError("no netlink here")

    host.write(CONFIGURATION, "node-ip: 192.0.2.11\n")
    grains = k3s._node(host.root, {}, silent)
    assert (grains["k3s_role"], grains["k3s_node_ips"]) == ("server", ["192.0.2.11"])
    assert len(grains["k3s_doubts"]) == 1
