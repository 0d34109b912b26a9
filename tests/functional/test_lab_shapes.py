"""Hosts in the shapes of the field: more cards, behind a router, beside other programs."""

import os
import sys

import pytest

from lab import other_software
from lab.cluster import Lab
from lab.spec import Card, HostSpec, Installation

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

INSIDE, OUTSIDE, ROUTER = "10.7.0.31", "192.0.2.31", "10.7.0.1"
TOLD = Installation(flags=(f"--node-ip={INSIDE}", f"--node-external-ip={OUTSIDE}"))
HOSTS = (
    HostSpec("s1", "server", 11, False, cards=(Card("eth1", "inner", ("10.0.0.11/24",)),)),
    HostSpec("a1", "agent", 21, False, cards=(Card("eth1", "inner", ("10.0.0.21/24",)),)),
    HostSpec(
        *("n1", "agent", 31, False, None, TOLD),
        cards=(Card("eth0", "behind", (f"{INSIDE}/24",)),),
        gateway=ROUTER,
    ),
    HostSpec(
        *("nat", "plain", 1, False),
        cards=(Card("eth1", "behind", (f"{ROUTER}/24",)),),
        translates=((OUTSIDE, INSIDE),),
    ),
)
LISTEN = """
import socket
server = socket.create_server(("", 8000))
print("ready", flush=True)
print(server.accept()[1][0])
"""
ASK = "import socket, sys; socket.create_connection((sys.argv[1], 8000), timeout=10)"


@pytest.fixture(scope="module")
def lab():
    # Kept in a name: an ephemeral lab ends with its object.
    lab = Lab(f"shapes{os.getpid()}", HOSTS, salt=False, ephemeral=True)
    with lab:
        yield lab


def seen_from(target, asker, address):
    """The address by which the target sees the one who asks it."""
    with target.popen([sys.executable, "-c", LISTEN], stdout=-1) as listening:
        assert listening.stdout.readline() == "ready\n"
        asker.run([sys.executable, "-c", ASK, address])
        return listening.stdout.readline().strip()


def test_hosts_see_each_other_on_each_network_that_both_have_a_card_in(lab):
    server, agent = lab.host("s1"), lab.host("a1")
    assert seen_from(server, agent, "192.0.2.11") == "192.0.2.21"
    assert seen_from(server, agent, "10.0.0.11") == "10.0.0.21"


def test_a_translated_host_and_the_others_see_each_other_by_outer_addresses(lab):
    server, behind = lab.host("s1"), lab.host("n1")
    assert seen_from(server, behind, server.ipv4) == OUTSIDE
    assert seen_from(behind, server, OUTSIDE) == server.ipv4


def test_the_kubelets_certificate_has_every_address_that_k3s_was_told(lab):
    shown = lab.host("n1").run(
        [
            *("openssl", "x509", "-noout", "-ext", "subjectAltName"),
            *("-in", "/var/lib/rancher/k3s/agent/serving-kubelet.crt"),
        ]
    )
    assert {f"IP Address:{INSIDE}", f"IP Address:{OUTSIDE}"} <= set(
        shown.stdout.strip().replace("\n", ",").replace(" IP", "IP").split(",")
    )


def test_a_host_has_its_disk_and_its_network_after_a_reboot(lab):
    behind = lab.host("n1")
    behind.path("/etc/kept").write_text("kept")
    behind.path("/run/lost").write_text("lost")
    first = behind.pid
    lab.reboot("n1")
    assert behind.pid != first
    assert behind.path("/etc/kept").read_text() == "kept"
    assert not behind.path("/run/lost").exists()
    assert seen_from(lab.host("s1"), behind, "192.0.2.11") == OUTSIDE


def test_other_programs_make_the_same_bridges_on_every_host(lab):
    for name in ("s1", "a1"):
        host = lab.host(name)
        other_software.make_bridges(host)
        other_software.make_dummy(host, other_software.IPVS_DEVICE, ["10.43.0.10/32"])
        shown = host.run(["ip", "-brief", "-4", "address"]).stdout.split()
        assert {address for _device, address in other_software.BRIDGES.values()} <= set(shown)
        assert "10.43.0.10/32" in shown
        assert ":FORWARD DROP" in host.run(["iptables-save", "-t", "filter"]).stdout


def test_a_virtual_address_moves_to_another_host(lab):
    out, address = lab.host("nat"), "192.0.2.100"
    for name in ("s1", "a1"):
        host = lab.host(name)
        with other_software.virtual_address(host, address):
            # As keepalived's gratuitous ARP does.
            out.run(["ip", "neighbour", "flush", "to", address])
            assert seen_from(host, out, address) == out.ipv4
