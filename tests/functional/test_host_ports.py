"""hostPorts of real pods, made by the real portmap, after firewalld flushed their rules.

Only the rules of pods that live come back, as portmap writes them.
"""

import subprocess

import pytest

from lab.k3s import container_runtime
from lab.k3s.container_runtime import HostPort, add_pod, delete_pod, end_processes, running
from lab.wait import wait_until
from tests.functional.listeners import PYTHON
from tests.selection import exhaustive
from tests.traefik_pod import PORTS, answers, traefik

NETWORK = container_runtime.network(1)
WEB_TITLES = [f"hostPort {port}/tcp of pod kube-system/svclb-traefik" for port in (80, 443)]
IDLE = ("sleep", "infinity")
PROGRAMS = ("iptables", "ip6tables")
ECHO = """
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("", 5353))
while True:
    here.sendto(b"answer", here.recvfrom(100)[1])
"""
# It always sends from the same port, and ends with the first answer.
ASK_AGAIN_AND_AGAIN = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect((sys.argv[1], 5353))
client.settimeout(0.05)
while True:
    try:
        client.send(b"question")
        print(client.recv(100).decode())
        break
    except OSError:
        pass
"""
KUBE_PROXY = """\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
COMMIT
"""


@pytest.fixture
def kubernetes(node):
    """A node with kube-proxy's rules."""
    write_kube_proxys_rules(node)
    return node


@pytest.fixture
def served(kubernetes):
    """Traefik in a pod that has the node's ports 80 and 443."""
    with traefik(kubernetes.host, NETWORK) as pod:
        yield pod


def write_kube_proxys_rules(node):
    for program in PROGRAMS:
        node.host.run([f"{program}-restore", "--noflush"], input=KUBE_PROXY)


def rules(node, *kind):
    """The NAT rules of both families, without comments and counters."""
    lines = [
        line.partition(" [")[0]
        for program in PROGRAMS
        for line in node.run("-".join([program, *kind, "save"]), "-t", "nat").splitlines()
    ]
    return [line for line in lines if not line.startswith("#")]


def reached(outsider, node):
    """Whether a client reaches traefik at the node, over IPv4 and over IPv6."""
    return [answers(outsider, each) for each in (node.host.ipv4, node.host.ipv6)]


def reload(node):
    node.firewall_cmd("--reload")


def reload_completely(node):
    node.firewall_cmd("--complete-reload")


def restart(node):
    node.host.restart_firewalld()


def flushed(node, lose=reload):
    """Lose all rules of iptables, and have kube-proxy write its own again."""
    lose(node)
    if "KUBE-SERVICES" in node.run("iptables-save"):
        pytest.skip("this firewalld flushes nothing")
    write_kube_proxys_rules(node)


def verdicts(node, pillar):
    found = node.call("check_zones", pillar)["checks"]
    return [each for each in found if each["description"] == "hostPorts"]


@pytest.mark.parametrize("lose", [reload, exhaustive(reload_completely), restart])
def test_a_client_reaches_traefik_again_after_the_next_heal(
    kubernetes, served, outsider, pillar, lose
):
    node = kubernetes
    before = rules(node)
    assert reached(outsider, node) == [True, True]
    assert verdicts(node, pillar) == []
    flushed(node, lose)
    assert reached(outsider, node) == [False, False]
    (lost,) = verdicts(node, pillar)
    assert lost["status"] == "lost"
    assert lost["hint"] == "salt s1 k3sfw.heal"
    assert "80/tcp (10.42.1.2:8000 and [fd42::1:2]:8000)" in lost["evidence"]
    assert "to pod kube-system/svclb-traefik any more" in lost["evidence"]
    left = rules(node)
    predicted = node.call("heal", test=True)
    assert rules(node) == left
    healed = node.call("heal")
    assert list(healed["changes"]) == ["kernel"]
    assert list(healed["changes"]["kernel"]) == WEB_TITLES
    assert predicted["changes"] == healed["changes"]
    assert rules(node) == before
    assert reached(outsider, node) == [True, True]
    assert verdicts(node, pillar) == []
    assert node.call("heal")["changes"] == {}
    delete_pod(node.host, served, NETWORK)
    assert not any("CNI-DN-" in line for line in rules(node))


def test_an_apply_brings_them_back_without_a_reload_and_keeps_them_in_its_own(
    kubernetes, served, outsider, pillar
):
    node = kubernetes
    before = rules(node)
    assert len(node.call("apply", pillar)["reloads"]) == 1
    assert rules(node) == before
    flushed(node)
    predicted = node.call("apply", pillar, test=True)
    applied = node.call("apply", pillar)
    assert list(applied["changes"]["kernel"]) == WEB_TITLES
    assert applied["changes"] == predicted["changes"]
    assert applied["reloads"] == []
    assert rules(node) == before
    assert reached(outsider, node) == [True, True]
    again = node.call("apply", pillar)
    assert (again["changes"], again["notices"]) == ({}, [])


def test_a_pod_that_died_gets_nothing_back(kubernetes):
    node = kubernetes
    with (
        running(node.host, "dead", (HostPort(80, 80),), IDLE, NETWORK) as dead,
        running(node.host, "alive", (HostPort(81, 81),), IDLE, NETWORK),
    ):
        end_processes(node.host, dead)
        flushed(node)
        healed = node.call("heal")["changes"]["kernel"]
        assert list(healed) == ["hostPort 81/tcp of pod kube-system/alive"]
        assert not any("--dports 80 " in line for line in rules(node))


def test_a_result_of_before_a_reboot_gets_nothing_back(kubernetes):
    node = kubernetes
    pod = add_pod(node.host, "old", (HostPort(80, 80),), NETWORK)
    flushed(node)
    node.run("ip", "netns", "delete", pod.namespace)
    assert node.call("heal")["changes"] == {}


def test_an_address_that_another_pod_has_meanwhile_is_not_redirected(kubernetes):
    node = kubernetes
    with running(node.host, "old", (HostPort(80, 80),), IDLE, NETWORK) as old:
        allocations = node.path("/var/lib/cni/networks/cbr0")
        for path in allocations.iterdir():
            path.unlink()
        with running(node.host, "new", (HostPort(81, 81),), IDLE, NETWORK) as new:
            assert new.addresses == old.addresses
            flushed(node)
            node.call("heal")
            assert not any("--dports 80 " in line for line in rules(node))


def test_pods_that_started_after_the_loss_keep_theirs_behind_the_older_ones(kubernetes):
    node = kubernetes
    host = node.host
    with running(host, "one", (HostPort(80, 80), HostPort(53, 53, "udp")), IDLE, NETWORK) as one:
        flushed(node)
        with running(host, "two", (HostPort(80, 80),), IDLE, NETWORK) as two:
            node.call("heal")
            entries = [line for line in rules(node) if line.startswith("-A CNI-HOSTPORT-DNAT")]
            # By protocol and pod, in both families.
            expected = [one.container, one.container, two.container] * 2
            assert [line.split('id: \\"')[1][:64] for line in entries] == expected
            delete_pod(host, one, NETWORK)
            left = "\n".join(rules(node))
            assert one.container not in left
            assert two.container in left
            assert node.call("heal")["changes"] == {}
    assert not any("CNI-DN-" in line for line in rules(node))


def test_a_udp_client_that_never_pauses_reaches_the_pod_again(kubernetes, outsider):
    node = kubernetes
    ports = [HostPort(5353, 5353, "udp")]
    with running(node.host, "dns", ports, [*PYTHON, "-c", ECHO], NETWORK):
        flushed(node)
        # Without a rejection the kernel remembers the flow as it goes: to the node itself.
        node.firewall_cmd("--add-port=5353/udp")
        ask = [*PYTHON, "-u", "-c", ASK_AGAIN_AND_AGAIN, node.host.ipv4]
        with outsider.popen(ask, stdout=subprocess.PIPE) as client:
            flows = ("conntrack", "-L", "-p", "udp", "--orig-port-dst", "5353")
            wait_until(lambda: "dport=5353" in node.run(*flows), "no flow", timeout=20)
            node.call("heal")
            try:
                assert client.communicate(timeout=20)[0] == "answer\n"
            finally:
                client.kill()


@pytest.mark.parametrize(
    "chain",
    ["PREROUTING", exhaustive("CNI-HOSTPORT-DNAT"), exhaustive("CNI-HOSTPORT-SETMARK")],
)
def test_a_part_that_is_flushed_comes_back_alone(kubernetes, chain):
    node = kubernetes
    with running(node.host, "web", PORTS, IDLE, NETWORK):
        before = sorted(rules(node))
        node.run("iptables", "-t", "nat", "-F", chain)
        write_kube_proxys_rules(node)
        node.call("heal")
        assert sorted(set(rules(node))) == sorted(set(before))
        assert node.call("heal")["changes"] == {}


@pytest.mark.parametrize(
    "settings",
    [
        exhaustive({"snat": False}),
        {"markMasqBit": 5, "conditionsV4": ["!", "-s", "192.0.2.99/32"]},
        exhaustive({"externalSetMarkChain": "KUBE-MARK-MASQ"}),
    ],
)
def test_the_settings_of_the_network_are_kept(kubernetes, settings):
    node = kubernetes
    network = container_runtime.network(1, settings)
    ports = [HostPort(5000 + each, each) for each in range(1, 18)]
    ports += [HostPort(53, 53, "udp", "192.0.2.11"), HostPort(54, 54, "sctp", "0.0.0.0")]
    for program in PROGRAMS:
        node.run(program, "-t", "nat", "-N", "KUBE-MARK-MASQ")
    with running(node.host, "web", ports, IDLE, network):
        before = rules(node)
        flushed(node)
        node.call("heal")
        assert [line for line in rules(node) if line != ":KUBE-MARK-MASQ -"] == [
            line for line in before if line != ":KUBE-MARK-MASQ -"
        ]


def test_the_older_kind_of_iptables_is_healed_in_its_own_tables(kubernetes):
    node = kubernetes
    for name in ("iptables", "ip6tables", "iptables-save", "iptables-restore"):
        legacy = name.replace("tables", "tables-legacy", 1)
        node.path(f"/usr/local/bin/{name}").symlink_to(f"/usr/sbin/{legacy}")
    for program in PROGRAMS:
        node.run(f"{program}-nft", "-t", "nat", "-F")
        node.run(f"{program}-nft", "-t", "nat", "-X")
    # Of several ports over IPv6, ip6tables-legacy 1.8.9 takes the second one for the first.
    with running(node.host, "web", PORTS[:1], IDLE, NETWORK):
        before = rules(node, "legacy")
        assert any("CNI-DN-" in line for line in before)
        assert node.call("heal")["changes"] == {}
        for program in PROGRAMS:
            node.run(f"{program}-legacy", "-t", "nat", "-F")
            node.run(f"{program}-legacy", "-t", "nat", "-X")
        assert node.call("heal")["changes"] != {}
        assert rules(node, "legacy") == before
        assert not any("CNI-" in line for line in rules(node, "nft"))


# As nft 1.0.6 shows what portmap 1.9.1 writes with nftables; Debian's portmap knows iptables only.
WRITTEN_WITH_NFT = """\
table ip cni_hostport {{
	comment "CNI portmap plugin"
	chain hostports {{
		tcp dport 80 dnat to 10.42.1.2:8000 comment "{0}"
		tcp dport 443 dnat to 10.42.1.2:8443 comment "{0}"
	}}

	chain hostip_hostports {{
	}}

	chain hostports_all {{
		jump hostip_hostports
		jump hostports
	}}

	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump hostports_all
	}}

	chain output {{
		type nat hook output priority -100; policy accept;
		fib daddr type local jump hostports_all
	}}

	chain masquerading {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.42.1.2 ip daddr 10.42.1.2 masquerade comment "{0}"
		ip saddr 127.0.0.1 ip daddr 10.42.1.2 masquerade comment "{0}"
	}}
}}
"""


def test_what_portmap_writes_with_nftables_comes_back_after_the_rule_set_is_flushed(
    kubernetes, outsider
):
    node = kubernetes
    with traefik(node.host, container_runtime.network(1, {"backend": "nftables"})) as pod:
        for family in ("ip", "ip6"):
            node.nft("flush", "table", family, "nat")
        for _ in range(2):
            healed = node.call("heal")
            assert list(healed["changes"]["kernel"]) == WEB_TITLES
            table = node.nft("list", "table", "ip", "cni_hostport")
            assert table == WRITTEN_WITH_NFT.format(pod.container)
            assert reached(outsider, node) == [True, True]
            assert node.call("heal")["changes"] == {}
            node.nft("delete", "table", "ip", "cni_hostport")
        end_processes(node.host, pod)
        assert node.call("heal")["changes"] == {}


def test_a_result_that_cannot_be_read_is_named_and_hides_no_other(kubernetes, pillar):
    node = kubernetes
    with running(node.host, "web", PORTS, IDLE, NETWORK) as pod:
        folder = node.path(container_runtime.RESULTS)
        (folder / "cbr0-broken-eth0").write_text('{"capabilityArgs": {"portMappings": [{"HostPort"')
        flushed(node)
        healed = node.call("heal")
        assert len(healed["changes"]["kernel"]) == 2
        assert "cannot be read from /var/lib/cni/results/cbr0-broken-eth0" in "".join(
            healed["notices"]
        )
        assert [each["status"] for each in verdicts(node, pillar)] == ["unproven"]
        assert pod.container in "".join(rules(node))


def test_rules_that_cannot_be_written_again_are_said(kubernetes, pillar):
    node = kubernetes
    with running(node.host, "web", PORTS, IDLE, NETWORK):
        flushed(node)
        failing = node.path("/usr/local/sbin/iptables-nft-restore")
        failing.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
        failing.chmod(0o755)
        refused = node.try_call("heal")["refused"]
        assert "the rules of hostPorts are gone and cannot be written again" in refused[0]
        assert "it is broken" in refused[0]
        # An apply has another purpose, and goes on.
        assert any("it is broken" in each for each in node.call("apply", pillar)["notices"])
