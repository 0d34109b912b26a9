"""A change of pillar that breaks a promise is refused by an apply; packets prove the same."""

import os

import pytest

from lab.spec import HostSpec
from tests.cluster.salt_views import Events, everything

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

PROMISE = "etcd_is_for_servers"
OPENED = {"k3s": {"ports": {"cluster": {"etcd": {"source": "any"}}}}}
ALLOWED = {"k3s": {**OPENED["k3s"], "firewall": {"allow_broken_tests": True}}}
SENTENCE = (
    "test etcd_is_for_servers: 192.0.2.21 (a1), 2001:db8::21 (a1) would reach tcp/2379-2380 of s1"
)


def promises(cluster, node):
    """What check_ports of a node says of the promises, and its status."""
    report = cluster.salt(node, "k3sfw.check_ports", peers="all")[node]
    return report["promises"], report["status"]


def test_a_change_that_opens_etcd_to_agents_is_refused_on_the_servers(applied):
    host = applied.host("s1")
    before = everything(host)
    with applied.site(OPENED), Events(applied.lab.master) as events:
        foretold = applied.apply("s1", test=True)["s1"]
        refused = applied.apply("s1")["s1"]
        assert set(events.from_managed()) == {"s1"}
        function = applied.salt("s1", "k3sfw.apply")["s1"]
        assert applied.apply("a1")["a1"]["changes"] == {}
    assert everything(host) == before
    assert (refused["result"], refused["changes"]) == (False, {})
    assert refused["comment"] == foretold["comment"]
    assert SENTENCE in refused["comment"]
    assert "etcd holds every secret of the cluster" in refused["comment"]
    assert "k3s:ports:cluster:etcd:source" in refused["comment"]
    assert "set k3s:firewall:allow_broken_tests: true for this one apply" in refused["comment"]
    assert SENTENCE in function
    # The agent's packets find what the refusal kept.
    kept, status = promises(applied, "a1")
    assert kept[PROMISE] == "kept (4 packets)"
    assert status != "FAIL"


def test_a_promise_that_was_broken_on_purpose_is_told_and_packets_show_it(applied):
    with applied.site(ALLOWED):
        state = applied.apply("s1")["s1"]
        assert state["result"] is True and state["changes"]
        assert "k3s:firewall:allow_broken_tests allows it" in state["comment"]
    with applied.site(OPENED), Events(applied.lab.master) as events:
        again = applied.apply("s1")["s1"]
        told = [data for tag, data in events.new() if tag == "k3sfw/checked"]
        assert (again["result"], again["changes"]) == (True, {})
        assert SENTENCE in again["comment"]
        assert [each["id"] for each in told] == ["s1"]
        assert SENTENCE in told[0]["data"]["comment"]
        found, _status = promises(applied, "a1")
        assert found[PROMISE].startswith("broken: tcp/2379 of s1")
        on_server, status = promises(applied, "s1")
        assert on_server[PROMISE].startswith("broken: test etcd_is_for_servers: 192.0.2.21 (a1)")
        assert status == "FAIL"
        in_force = applied.salt("s1", "k3sfw.in_force")["s1"]
        assert in_force["tables"]["ports"]["cluster"]["etcd"]["source"] == ["any"]
    applied.converge("s1")
    assert promises(applied, "a1")[0][PROMISE] == "kept (4 packets)"


def test_a_node_that_joins_is_let_in_while_a_change_of_the_tables_is_refused(applied):
    joined = {"a7": {"role": "agent", "addresses": ["192.0.2.77"]}}
    with applied.site({"k3s": {**OPENED["k3s"], "nodes": joined}}):
        state = applied.apply("s1")["s1"]
        assert state["result"] is False and state["changes"]
        assert "would reach tcp/2379-2380 of s1" in state["comment"]
        in_force = applied.salt("s1", "k3sfw.in_force", full=True)["s1"]
        assert "192.0.2.77" in in_force["ipsets"]["k3s-node-4"]
        assert in_force["tables"]["ports"]["cluster"]["etcd"]["source"] == ["server"]
        again = applied.apply("s1")["s1"]
        assert (again["result"], again["changes"]) == (False, {})
    applied.converge("s1")


def test_a_node_that_joins_is_let_in_although_a_promise_of_the_pillar_is_broken(applied):
    """The promise names an address that the row of nodes opens as soon as a node has it."""
    joined = {"a7": {"role": "agent", "addresses": ["192.0.2.77"]}}
    test = {"from": "192.0.2.77", "to": "any", "deny": "tcp/10250"}
    with applied.site({"k3s": {"tests": {"kubelet_not_for_77": test}, "nodes": joined}}):
        state = applied.apply("s1")["s1"]
        assert state["result"] is True and state["changes"]
        assert "would reach tcp/10250 of s1 by row kubelet" in state["comment"]
    applied.converge("s1")


@pytest.fixture
def jump_host(applied):
    """A minion outside of the cluster, with the modules and without K3s or pillar."""
    spec = HostSpec("jump1", "plain", 77, firewalld=False, minion=True)
    host = applied.lab.add_host(spec)
    applied.start_minion(host)
    applied.salt("jump1", "saltutil.sync_all")
    yield host
    applied.leave("jump1")


def test_a_minion_outside_of_the_cluster_asks_a_promise_that_no_node_can_ask(applied, jump_host):
    test = {
        "from": "192.0.2.77",
        "to": "server",
        "deny": "tcp/2379-2380",
        "accept": "tcp/443",
        "ask_from": "jump1",
    }
    applied.salt_run("saltutil.sync_all")

    def of_cluster():
        data = applied.salt_run("k3sfw.check")["data"]
        return {each["name"]: each for each in data["promises"]}["jump_host"]

    with applied.site({"k3s": {"tests": {"jump_host": test}}}):
        assert applied.apply("s1")["s1"]["result"] is True
        kept = of_cluster()
        assert (kept["value"], kept["packets"]) == ("kept", 3)
        applied.host("s1").run(["firewall-cmd", "--add-port=2379/tcp"])
        broken = of_cluster()
        assert (broken["value"], broken["nodes"]) == ("broken", ["jump1"])
        assert "tcp/2379 of s1 (192.0.2.11) is open to jump1" in broken["parts"]
        applied.host("s1").run(["firewall-cmd", "--remove-port=2379/tcp"])
