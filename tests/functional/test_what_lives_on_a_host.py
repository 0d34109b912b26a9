"""Nothing that lives on a host is closed without a word: real sockets, tunnels and packets."""

import json
import re
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest
import yaml

from lab.k3s.pods import INSIDE, behind_a_bridge
from lab.spec import HostSpec
from lab.wait import wait_until
from tests.functional.hosts import OUTSIDER, SERVER, standing
from tests.live_sockets import process, served
from tests.selection import exhaustive
from tests.ssh_sessions import ended

PEER = HostSpec("s3", "plain", 13, firewalld=False)
STARTING = {"masters": ["192.0.2.10"], "master_ports": [4505, 4506]}
ALLOW = {"allow_lockout": True}
ROW = re.compile(r"Fix: add k3s:ports:(\w+):(\w+): (\{.*\})$")


@pytest.fixture
def lab():
    with standing("lives", (SERVER, PEER, OUTSIDER)) as raised:
        yield raised


@pytest.fixture
def peer(lab):
    return lab.host("s3")


@pytest.fixture
def tables(pillar):
    """The tables of a cluster with s3 in it."""
    pillar["nodes"]["s3"] = {"role": "server", "addresses": [PEER.ipv4, PEER.ipv6]}
    return pillar


@contextmanager
def tracking(node):
    """Rules like those of kube-proxy, for which the kernel tracks packets, without firewalld."""
    node.host.stop_firewalld()
    rule = "type filter hook input priority 0; ct state new counter"
    node.nft(f"add table inet proxy {{ chain seen {{ {rule}; }}; }}")
    yield
    node.nft("delete table inet proxy")


def written(tables, sentences):
    """The tables with the rows that the sentences suggest."""
    tables = json.loads(json.dumps(tables))
    for sentence in sentences:
        table, name, columns = ROW.search(sentence).groups()
        tables["ports"].setdefault(table, {})[name] = yaml.safe_load(columns)
    return tables


def refused(on, function, tables, **options):
    """The sentences of a refusal, which must touch nothing."""
    before = on.files()
    answer = on.try_call(function, tables, **options)
    assert on.files() == before
    return answer["refused"]


# -- a first start --------------------------------------------------------------------------------


def test_a_first_start_lists_what_it_closes_each_with_the_row_that_keeps_it(
    node, peer, outsider, tables
):
    with (
        tracking(node),
        served(node.host, outsider, "tcp/9100"),
        served(node.host, peer, "udp/7946"),
        process(node.host, "wait", "tcp/9253"),
    ):
        notices = node.call("prepare", tables, **STARTING, test=True)["notices"]
        text = "\n".join(notices)
        assert f"this closes tcp/9100 of exporter to {OUTSIDER.ipv4}, which use it" in text
        assert f"this closes udp/7946 of exporter to {PEER.ipv4}, which use it" in text
        assert "this closes tcp/9253, on which exporter waits" in text
        assert len(notices) == 3
        # The node is one of the cluster, the other client is not.
        rows = written({"ports": {}}, notices)["ports"]
        assert rows["cluster"]["exporter_7946"]["source"] == "any"
        assert rows["manager"]["exporter_9100"]["source"] == [OUTSIDER.ipv4]
        kept = written(tables, notices)
        assert node.call("prepare", kept, **STARTING, test=True)["notices"] == []
        assert node.call("prepare", kept, **STARTING)["notices"] == []


def test_a_first_start_that_would_make_two_routers_master_is_refused(node, peer, tables):
    with tracking(node), served(node.host, peer, "ip/112", name="keepalived"):
        (sentence,) = refused(node, "prepare", tables, **STARTING)
        assert f"close vrrp to {PEER.ipv4} (s3, server), which has a live VRRP router" in sentence
        vrrp = {"protocol": "vrrp", "source": "server", "destination": "server"}
        tables["ports"]["cluster"]["vrrp"] = vrrp
        assert node.call("prepare", tables, **STARTING)["notices"] == []


def test_a_vrrp_router_without_a_peer_yet_is_kept_as_well(node, tables):
    node.host.stop_firewalld()
    with process(node.host, "wait", "ip/112", name="keepalived"):
        (sentence,) = refused(node, "prepare", tables, **STARTING)
        assert sentence.startswith("this would close vrrp, which a raw socket of vrrp needs here")
        kept = written(tables, [sentence.partition(", or set")[0]])
        assert node.call("prepare", kept, **STARTING)["notices"] == []


def test_the_api_server_is_kept_on_any_port(node, peer, tables):
    node.host.stop_firewalld()
    with served(node.host, peer, "tcp/7443", name="k3s-server"):
        (sentence,) = refused(node, "prepare", tables, **STARTING)
        assert f"tcp/7443 to {PEER.ipv4} (s3, server), which has a live connection to the API" in (
            sentence
        )


def test_what_pods_and_the_host_itself_use_is_not_listed(node, tables):
    node.host.stop_firewalld()
    node.run("sh", "-ec", "ip link add cni0 type bridge; ip address add 10.42.0.1/24 dev cni0")
    with process(node.host, "wait", "tcp/9100"):
        for address in ("127.0.0.1", SERVER.ipv4):
            with process(node.host, "reach", address, "tcp/9100"):
                (notice,) = node.call("prepare", tables, **STARTING, test=True)["notices"]
                assert "on which exporter waits" in notice


def test_a_pod_is_known_by_its_bridge_where_pillar_has_another_network(node, tables):
    node.host.stop_firewalld()
    with (
        behind_a_bridge(node.host, 1, patterns=(("10.44.{}.{}", "fd44::{}:{}"),)),
        process(node.host, "wait", "tcp/7443", name="k3s-server"),
        process(node.host, "reach", SERVER.ipv4, "tcp/7443", inside=INSIDE),
    ):
        (notice,) = node.call("prepare", tables, **STARTING, test=True)["notices"]
        assert "this closes tcp/7443, on which k3s-server waits" in notice


def test_a_zone_that_opens_a_port_keeps_it(node, outsider, tables):
    node.host.stop_firewalld()
    node.run("firewall-offline-cmd", "--zone=public", "--add-port=9100/tcp")
    with served(node.host, outsider, "tcp/9100"):
        assert node.call("prepare", tables, **STARTING, test=True)["notices"] == []


# -- the overlay ----------------------------------------------------------------------------------

INNER, OUTER = "192.0.2", "198.51.100"


@contextmanager
def overlay(node, network, port=8472):
    """Flannel's device, which sends by the card of this network to s3."""
    local, remote = f"{network}.11", f"{network}.13"
    node.run(
        "sh",
        "-ec",
        f"ip address add {OUTER}.11/24 dev eth0; "
        f"ip link add flannel.1 type vxlan id 1 local {local} dev eth0 dstport {port} nolearning; "
        f"ip link set flannel.1 up; "
        f"bridge fdb add 02:00:00:00:00:03 dev flannel.1 dst {remote}; "
        "ip address add 10.42.1.0/32 dev flannel.1; "
        "ip route add 10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink",
    )
    yield
    node.run("sh", "-ec", f"ip link delete flannel.1; ip address del {OUTER}.11/24 dev eth0")


def test_an_overlay_by_the_other_card_is_not_cut_by_a_first_start(node, tables):
    node.host.stop_firewalld()
    with overlay(node, OUTER):
        ours, theirs = refused(node, "prepare", tables, **STARTING)
        assert "flannel.1 sends pods' packets from 198.51.100.11" in ours
        assert "close udp/8472 to 198.51.100.13, from which pods of another node come" in theirs
        for sentence in (ours, theirs):
            assert "set flannel-iface of K3s" in sentence
        tables["nodes"]["s1"]["addresses"].append(f"{OUTER}.11")
        tables["nodes"]["s3"]["addresses"].append(f"{OUTER}.13")
        assert node.call("prepare", tables, **STARTING)["notices"] == []


def test_an_overlay_on_a_port_that_no_row_has_is_not_cut_by_a_first_start(node, tables):
    node.host.stop_firewalld()
    with overlay(node, INNER, port=4789):
        (sentence,) = refused(node, "prepare", tables, **STARTING)
        assert f"close udp/4789 to {PEER.ipv4} (s3, server), which has a live tunnel" in sentence


def test_an_overlay_as_the_tables_have_it_needs_no_word(node, tables):
    node.host.stop_firewalld()
    with overlay(node, INNER):
        assert node.call("prepare", tables, **STARTING)["notices"] == []


def test_a_device_that_a_former_backend_left_is_listed_only(node, tables):
    node.host.stop_firewalld()
    with overlay(node, OUTER, port=4789):
        node.run("ip", "route", "delete", "10.42.3.0/24")
        (notice,) = node.call("prepare", tables, **STARTING, test=True)["notices"]
        assert f"this closes udp/4789 of flannel.1 to {OUTER}.13, which use it now" in notice


def test_an_apply_does_not_take_a_live_node_out_of_the_overlay(node, tables):
    node.call("apply", tables)
    with overlay(node, INNER):
        del tables["nodes"]["s3"]
        (sentence,) = refused(node, "apply", tables)
        assert f"close udp/8472 to {PEER.ipv4} (s3), from which pods of another node" in sentence
        assert "it leaves ipset k3s-node-4" in sentence


# -- a mesh under the cluster ---------------------------------------------------------------------


@contextmanager
def mesh(node, port):
    """A WireGuard device of the operator, which leads to 10.9.0.0/24."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("this machine has no tun devices, which WireGuard in user space needs")
    command = ["wireguard-go", "--foreground", "wg0"]
    with ended(node.host.popen(command, stdout=DEVNULL, stderr=DEVNULL)):
        wait_until(
            lambda: node.host.run(["wg", "show", "wg0"], check=False).returncode == 0,
            "there is no wg0",
            timeout=10,
        )
        script = f"wg set wg0 listen-port {port}; ip address add 10.9.0.11/24 dev wg0"
        node.run("sh", "-ec", f"{script}; ip link set wg0 up")
        yield


def test_a_mesh_that_leads_to_nodes_is_kept_and_another_one_is_listed(node, tables):
    node.host.stop_firewalld()
    with mesh(node, 51899):
        (notice,) = node.call("prepare", tables, **STARTING, test=True)["notices"]
        assert "this closes udp/51899, on which wg0 waits" in notice
        tables["nodes"]["s3"]["addresses"] = ["10.9.0.13"]
        (sentence,) = refused(node, "prepare", tables, **STARTING)
        assert sentence.startswith("this would close udp/51899, which wg0 needs here")
        kept = written(tables, [sentence.partition(", or set")[0]])
        assert node.call("prepare", kept, **STARTING)["notices"] == []


# -- changes of a running firewall ----------------------------------------------------------------


def test_an_apply_lists_the_peers_of_a_row_that_goes(node, outsider, tables, new_row):
    new_row["ports"]["cluster"]["exporter"]["source"] = f"{OUTSIDER.ipv4}/32"
    node.call("apply", new_row)
    with served(node.host, outsider, "tcp/9100"):
        told = node.call("apply", tables, test=True)
        done = node.call("apply", tables)
        assert told == done
        (notice,) = done["notices"]
        assert f"this closes tcp/9100 of exporter to {OUTSIDER.ipv4}, which use it now" in notice
        back = written(tables, done["notices"])
        assert node.call("apply", back)["notices"] == []
        assert node.call("apply", back) == {"changes": {}, "reloads": [], "notices": []}


@pytest.mark.parametrize("at", ["tcp/10250", exhaustive("tcp/2380")])
def test_a_row_with_a_live_node_is_not_removed(node, peer, tables, at):
    node.call("apply", tables)
    with served(node.host, peer, at, name="k3s-server"):
        row = {"tcp/10250": "kubelet", "tcp/2380": "etcd"}[at]
        del tables["ports"]["cluster"][row]
        (sentence,) = refused(node, "apply", tables)
        assert f"this would close {at} to {PEER.ipv4} (s3, server), which has a live" in sentence


def test_an_adoption_keeps_what_only_the_script_lets_in(node, peer, outsider, tables):
    node.call("apply", tables)
    for layer in ([], ["--permanent"]):
        node.firewall_cmd(*layer, "--zone=public", "--add-port=10250/tcp", "--add-port=8472/udp")
    tables["peer_ports"] = {}
    with served(node.host, outsider, "tcp/10250", name="k3s-server"), ExitStack() as stack:
        done = node.call("adopt", tables, node="s1", test=True)
        (notice,) = [each for each in done["notices"] if "this closes" in each]
        assert f"tcp/10250 of k3s-server to {OUTSIDER.ipv4}, which use it now" in notice
        stack.enter_context(overlay(node, OUTER))
        sentences = refused(node, "adopt", tables, node="s1")
        assert any("from which pods of another node come" in each for each in sentences)
