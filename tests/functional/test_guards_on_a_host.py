"""An apply never cuts a live service off: real ssh and etcd connections between hosts."""

import json
import sys
from contextlib import contextmanager
from subprocess import DEVNULL

import pytest

from lab.spec import HostSpec
from lab.wait import wait_until
from tests.functional.hosts import ENGINE_DRIVER, OUTSIDER, SERVER, standing
from tests.selection import exhaustive
from tests.ssh_sessions import ended, session, sshd

PEER = HostSpec("s3", "plain", 13, firewalld=False)

ETCD_CLIENTS = 2379
ALLOW = {"allow_lockout": True}


@pytest.fixture
def lab():
    with standing("guard", (SERVER, PEER, OUTSIDER)) as raised:
        yield raised


@pytest.fixture
def peer(lab):
    return lab.host("s3")


@pytest.fixture
def tables(pillar):
    """The tables of a cluster with s3 in it, and an operator's own row for ssh."""
    pillar["nodes"]["s3"] = {"role": "server", "addresses": [PEER.ipv4, PEER.ipv6]}
    pillar["ports"]["manager"]["ssh"] = {"protocol": "tcp", "port": 2222}
    return pillar


@contextmanager
def etcd_with(node, peer, address):
    """A real etcd with a live connection from a peer."""
    url = f"http://{SERVER.ipv4}:{ETCD_CLIENTS}"
    command = ["etcd", "--data-dir=/run/guarded-etcd", f"--advertise-client-urls={url}"]
    command += [f"--listen-client-urls=http://0.0.0.0:{ETCD_CLIENTS}", "--log-level=error"]
    with ended(node.host.popen(command, stdout=DEVNULL, stderr=DEVNULL)):
        wait_until(
            lambda: f":{ETCD_CLIENTS}" in node.run("ss", "-Hltn"),
            "etcd does not listen",
            timeout=10,
        )
        watch = ["etcdctl", "watch", "anything"]
        watching = ["env", "ETCDCTL_API=3", f"ETCDCTL_ENDPOINTS=http://{address}:{ETCD_CLIENTS}"]
        with ended(peer.popen([*watching, *watch], stdout=DEVNULL, stderr=DEVNULL)):
            established = ("ss", "-Htn", "state", "established", "sport", "=", f":{ETCD_CLIENTS}")
            wait_until(lambda: peer.ipv4 in node.run(*established), "etcd has no peer", timeout=10)
            yield


def refused(node, function, pillar, **options):
    """The sentences of a refusal, which must touch nothing."""
    before = node.everything()
    answer = node.try_call(function, pillar, **options)
    assert node.everything() == before
    return answer["refused"]


# -- ssh ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [exhaustive("ipv4"), "ipv6"])
def test_the_row_of_a_live_ssh_session_is_not_removed(node, outsider, tables, family):
    node.call("apply", tables)
    with session(node.host, outsider, 2222, family=family):
        kept = tables["ports"]["manager"].pop("ssh")
        (sentence,) = refused(node, "apply", tables)
        who = getattr(outsider, family)
        assert f"this would close tcp/2222 to {who} (out), which has a live ssh session" in sentence
        assert "this rule of policy k3s-rows is removed: rule family=" in sentence
        assert "Fix: firewall-cmd --permanent --zone=public --add-port=2222/tcp, or" in sentence
        assert refused(node, "apply", tables, test=True) == [sentence]
        # Test mode is never a risk.
        assert "runtime" in node.call("compare", tables)["changes"]

        tables["ports"]["manager"]["ssh"] = kept
        assert node.call("apply", tables)["changes"] == {}


def test_the_row_of_a_live_ssh_session_goes_where_it_is_allowed(node, outsider, tables):
    node.call("apply", tables)
    with session(node.host, outsider, 2222):
        del tables["ports"]["manager"]["ssh"]
        tables["firewall"] = ALLOW
        told = node.call("apply", tables, test=True)
        done = node.call("apply", tables)
        assert told == done
        (notice,) = done["notices"]
        assert notice.startswith(f"this would close tcp/2222 to {outsider.ipv4} (out), which has")
        assert notice.endswith("; k3s:firewall:allow_lockout allows it")
        assert 'port="2222"' not in node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules")
        assert node.call("apply", tables) == {"changes": {}, "reloads": [], "notices": []}


def test_ssh_that_the_zone_allows_blocks_no_apply(node, outsider, tables):
    tables["ports"]["manager"]["ssh"]["port"] = 22
    node.call("apply", tables)
    with session(node.host, outsider, 22):
        del tables["ports"]["manager"]["ssh"]
        done = node.call("apply", tables)
        assert done["changes"] and done["notices"] == []


def test_ssh_that_the_zone_allows_only_at_runtime_does_not_count_as_allowed(node, outsider, tables):
    node.call("apply", tables)
    with session(node.host, outsider, 2222):
        del tables["ports"]["manager"]["ssh"]
        node.firewall_cmd("--zone=public", "--add-port=2222/tcp")
        assert len(refused(node, "apply", tables)) == 1
        node.firewall_cmd("--permanent", "--zone=public", "--add-port=2222/tcp")
        assert node.call("apply", tables)["notices"] == []


def test_ssh_on_an_interface_whose_zone_lacks_it_is_kept(node, outsider, tables):
    tables["ports"]["manager"]["ssh"]["port"] = 22
    node.call("apply", tables)
    for layer in ([], ["--permanent"]):
        node.firewall_cmd(*layer, "--zone=block", "--change-interface=eth0")
    with session(node.host, outsider, 22):
        del tables["ports"]["manager"]["ssh"]
        (sentence,) = refused(node, "apply", tables)
        assert "firewall-cmd --permanent --zone=block --add-port=22/tcp" in sentence


def test_the_group_mgmt_keeps_ssh_access_without_a_session(node, outsider, tables):
    tables["groups"] = {"mgmt": ["198.51.100.0/24"]}
    tables["ports"]["manager"]["ssh"]["source"] = "mgmt"
    node.call("apply", tables)
    with sshd(node.host, outsider, 2222):
        del tables["ports"]["manager"]["ssh"]
        (sentence,) = refused(node, "apply", tables)
        assert "would close tcp/2222 to 198.51.100.0/24, of k3s:groups:mgmt" in sentence
    assert node.call("apply", tables)["notices"] == []


# -- etcd -----------------------------------------------------------------------------------------


def test_a_live_etcd_member_is_not_removed(node, peer, tables):
    node.call("apply", tables)
    with etcd_with(node, peer, SERVER.ipv4):
        kept = tables["nodes"].pop("s3")
        (sentence,) = refused(node, "apply", tables)
        assert "tcp/2379 to 192.0.2.13 (s3), which has a live connection to etcd here" in sentence
        assert "it leaves ipset k3s-server-4" in sentence
        assert "Fix: put s3 with the role server and this address back into k3s:nodes" in sentence

        # A member that is not connected may be removed.
        tables["nodes"]["s3"] = kept
        del tables["nodes"]["s2"]
        assert node.call("apply", tables)["notices"] == []

        # An outdated role would close the port to every peer.
        tables["nodes"]["s1"]["role"] = "agent"
        sentences = refused(node, "apply", tables, role="agent")
        assert any("is an agent, but etcd with live connections" in each for each in sentences)
        assert any("tcp/2379 to 192.0.2.13 (s3, server)" in each for each in sentences)
        assert len(sentences) == 2


def test_a_server_that_runs_the_k3s_agent_is_refused(node, tables):
    # Linux names a process after its executable file.
    node.path("/run/k3s-agent").symlink_to(sys.executable)
    command = ["/run/k3s-agent", "-m", "http.server", "10250"]
    with ended(node.host.popen(command, stdout=DEVNULL, stderr=DEVNULL)):
        wait_until(lambda: ":10250" in node.run("ss", "-Hltn"), "it does not listen", timeout=10)
        (sentence,) = refused(node, "apply", tables)
        assert sentence.startswith("the tables say that this node is a server, but k3s-agent runs")
        tables["nodes"]["s1"]["role"] = "agent"
        assert node.call("apply", tables, role="agent")["notices"] == []


# -- healthy nodes ------------------------------------------------------------------------------


def test_a_fresh_single_server_applies_with_ssh_and_etcd_live(node, outsider, peer, pillar):
    pillar["nodes"] = {"s1": pillar["nodes"]["s1"]}
    with session(node.host, outsider, 22), etcd_with(node, node.host, SERVER.ipv4):
        assert node.call("apply", pillar)["notices"] == []
        assert node.call("apply", pillar) == {"changes": {}, "reloads": [], "notices": []}


# Runs the driver, and reports on standard error when it reads the host's connections.
TOLD = """\
import runpy, sys
said = lambda path: str(path).startswith("/proc/net/tcp")
sys.addaudithook(lambda event, given: event == "open" and said(given[0]) and sys.exit("read"))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_without_a_difference_the_connections_are_not_read(node, tables):
    node.call("apply", tables)
    for function in ("apply", "compare"):
        assert not reads_connections(node, function, tables)
    tables["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.22"]}
    assert not reads_connections(node, "compare", tables)
    assert reads_connections(node, "apply", tables)


def reads_connections(node, function, pillar):
    given = {"pillar": pillar, "minion_id": "s1", "role": "server"}
    command = [sys.executable, "-c", TOLD, str(ENGINE_DRIVER), function]
    return node.host.run(command, input=json.dumps(given), check=False).stderr == "read\n"


# -- a first start --------------------------------------------------------------------------------

STARTING = {"masters": ["192.0.2.10"], "master_ports": [4505, 4506]}


def test_a_first_start_that_would_close_a_live_ssh_session_is_refused(node, outsider, pillar):
    node.host.stop_firewalld()
    with session(node.host, outsider, 2222):
        before = node.files()
        (sentence,) = node.try_call("prepare", pillar, **STARTING)["refused"]
        assert node.files() == before
        assert f"firewalld would close tcp/2222 to {outsider.ipv4} (out), which has" in sentence
        assert "Fix: firewall-offline-cmd --zone=public --add-port=2222/tcp, or" in sentence
        node.run("firewall-offline-cmd", "--zone=public", "--add-port=2222/tcp")
        assert node.call("prepare", pillar, **STARTING)["notices"] == []
        node.host.start_firewalld()
        assert node.call("apply", pillar)["notices"] == []


def test_a_first_start_never_closes_what_a_row_opens(node, outsider, tables):
    node.host.stop_firewalld()
    with session(node.host, outsider, 2222):
        assert node.call("prepare", tables, **STARTING)["notices"] == []


def test_a_first_start_before_the_installation_keeps_ssh(node, outsider, pillar):
    node.host.stop_firewalld()
    node.run("sh", "-c", "rm -r /usr/lib/firewalld /etc/firewalld/*")
    with session(node.host, outsider, 22):
        assert node.call("prepare", pillar, **STARTING)["notices"] == []


# -- a suddenly smaller list ---------------------------------------------------------


def test_a_peer_list_that_suddenly_shrinks_removes_no_node(node, pillar):
    for number in range(30, 36):
        pillar["nodes"][f"a{number}"] = {"role": "agent", "addresses": [f"192.0.2.{number}"]}
    node.call("apply", pillar)
    entries = node.firewall_cmd("--ipset=k3s-node-4", "--get-entries")
    pillar["nodes"] = {
        "s1": pillar["nodes"]["s1"],
        "a9": {"role": "agent", "addresses": ["192.0.2.29"]},
    }
    done = node.call("apply", pillar)
    kept = node.firewall_cmd("--ipset=k3s-node-4", "--get-entries")
    assert {*kept.split()} == {*entries.split(), "192.0.2.29"}
    (notice,) = done["notices"]
    assert "k3s:nodes has 3 addresses, and 10 are allowed as nodes now" in notice
    assert "set k3s:firewall:expected_nodes to the true number of nodes" in notice
    assert node.call("apply", pillar)["changes"] == {}

    pillar["firewall"] = {"expected_nodes": 2}
    assert node.call("apply", pillar)["notices"] == []
    left = node.firewall_cmd("--ipset=k3s-node-4", "--get-entries").split()
    assert left == ["192.0.2.11", "192.0.2.29"]
