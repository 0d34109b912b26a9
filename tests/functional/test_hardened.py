"""Where every zone in use drops and firewalld is locked down, all works as elsewhere."""

import pytest

from lab.connection_stream import stream
from tests.functional.hardened import (
    MANAGEMENT,
    STORAGE,
    findings,
    harden,
)
from tests.functional.hosts import OUTSIDER, SERVER, standing
from tests.functional.pods_of_two_nodes import (
    AGENT,
    DENIED,
    POD,
    THROUGH,
    asks,
    behind_bridges,
    from_pod,
    tunnel,
)
from tests.functional.transactions import TransactionNode

REDIS, KUBELET, ETCD, UNLISTED = 6379, 10250, 2379, 4000
ZONE_FILE = "/etc/firewalld/zones/k3s.xml"


@pytest.fixture
def lab():
    with standing("hard", (SERVER, AGENT, OUTSIDER)) as raised:
        yield raised


@pytest.fixture
def node(lab):
    return TransactionNode(lab.host("s1"))


@pytest.fixture
def hardened(node):
    harden(node)
    return node


def paths(lab):
    """What connections meet at the hardened host and its pods; rows and pods decide, no zone."""
    s1, a1, out = (lab.host(name) for name in ("s1", "a1", "out"))
    return {
        "any client to redis": asks(out, s1.ipv4, REDIS),
        "a node to the kubelet": asks(a1, s1.ipv4, KUBELET),
        "a pod to its own host": from_pod(s1, s1.ipv4, UNLISTED),
        "a pod to a pod elsewhere": from_pod(s1, POD["a1"]),
        "a pod from elsewhere to a pod": from_pod(a1, POD["s1"]),
        "a pod to the world": from_pod(s1, out.ipv4),
        "the host to its pod": asks(s1, POD["s1"]),
    }, {
        "any client to the kubelet": asks(out, s1.ipv4, KUBELET),
        "an agent to etcd": asks(a1, s1.ipv4, ETCD),
        "a node to a port without a row": asks(a1, s1.ipv4, UNLISTED),
        "any client to a pod": asks(out, POD["s1"]),
    }


def assert_rows_and_pods_hold(lab):
    opened, closed = paths(lab)
    assert {path: met for path, met in opened.items() if met != THROUGH} == {}
    assert {path: met for path, met in closed.items() if met not in DENIED} == {}


def test_every_zone_drops_and_all_rows_and_paths_of_pods_hold(lab, hardened, pillar):
    s1, a1, out = (lab.host(name) for name in ("s1", "a1", "out"))
    assert findings(hardened) == {}
    with behind_bridges(hardened, {"a1": a1}) as hosts:
        tunnel(hosts["s1"], 1, 2, hosts["a1"], 1, 8472)
        tunnel(hosts["a1"], 2, 1, hosts["s1"], 1, 8472)
        out.run(["ip", "route", "add", "10.42.1.0/24", "via", s1.ipv4])
        foretold = hardened.call("apply", pillar, test=True)
        assert hardened.call("apply", pillar)["changes"] == foretold["changes"]
        assert "zone k3s" in foretold["changes"]["runtime"]
        assert hardened.firewall_cmd("--get-zone-of-interface=cni0") == "k3s"
        assert findings(hardened) == {}
        assert_rows_and_pods_hold(lab)
        assert hardened.call("apply", pillar)["changes"] == {}
        listed = hardened.call("check_zones", pillar)["zones"]
        drops = {"runtime": "DROP", "permanent": "DROP"}
        assert listed == dict.fromkeys(("drop", "k3s", MANAGEMENT, STORAGE), drops)
        hardened.firewall_cmd("--reload")
        assert findings(hardened) == {}
        assert_rows_and_pods_hold(lab)
        assert hardened.call("apply", pillar)["changes"] == {}


def test_an_apply_is_corrected_undone_and_removed_there(hardened, pillar, new_row):
    bare = hardened.state()
    hardened.call("apply", pillar)
    before = hardened.state()
    # Drift in every layer.
    hardened.firewall_cmd("--zone=k3s", "--add-port=9/tcp")
    hardened.path(ZONE_FILE).unlink()
    accepting = hardened.rule_handles("accept")
    chain, handle = next(each for each in accepting if "policy_k3s" in each[0])
    hardened.nft("delete", "rule", "inet", "firewalld", chain, "handle", handle)
    assert hardened.call("apply", pillar)["changes"]
    assert hardened.state() == before
    # A change that fails, and one whose run is killed.
    steps = hardened.drive(99, "kill", new_row)["steps"]
    hardened.call("apply", pillar)
    for way in ("fail", "kill"):
        hardened.drive(steps.index("permanent"), way, new_row)
        hardened.wait_until_ended()
        assert hardened.state() == before
    assert hardened.call("heal")["changes"] == {}
    hardened.call("remove")
    assert hardened.state() == bare
    assert findings(hardened) == {}
    hardened.assert_nothing_is_left()


# -- zone k3s of an older version -----------------------------------------------------------------


def as_an_older_version_left_it(node, pillar):
    """Zone k3s with firewalld's default target, in both layers."""
    node.call("apply", pillar)
    file = node.path(ZONE_FILE)
    text = file.read_text()
    assert ' target="DROP"' in text
    file.write_text(text.replace(' target="DROP"', ""))
    node.firewall_cmd("--reload")
    assert findings(node).keys() >= {"k3s runtime", "k3s permanent"}


def test_an_upgrade_reloads_once_where_zone_k3s_was_the_last_finding(lab, hardened, pillar):
    as_an_older_version_left_it(hardened, pillar)
    # It is in use: a zone without interfaces is not active, and no scanner sees it.
    hardened.firewall_cmd("--zone=mgmt", "--add-source=198.18.0.0/24")
    s1, a1 = lab.host("s1"), lab.host("a1")
    foretold = hardened.call("apply", pillar, test=True)
    with hardened.reload_counter() as counter:
        with stream(a1, s1, REDIS) as connections:
            answer = hardened.call("apply", pillar)
        assert counter.count() == 1
    assert answer["changes"] == foretold["changes"]
    change = {"zone k3s": {"target": {"old": "default", "new": "DROP"}}}
    assert answer["changes"] == {"permanent": change, "runtime": change}
    # An old firewalld takes longer for a reload than a connection waits; none is refused.
    assert set(connections.counts) <= {"open", "TimeoutError"}
    assert findings(hardened) == {}
    # What others had at runtime only is as it was.
    assert "198.18.0.0/24" in hardened.firewall_cmd("--zone=mgmt", "--list-sources")
    assert hardened.call("apply", pillar)["changes"] == {}


def test_an_upgrade_reloads_nothing_where_other_zones_do_not_drop_either(lab, node, pillar):
    as_an_older_version_left_it(node, pillar)
    s1, out = lab.host("s1"), lab.host("out")
    foretold = node.call("apply", pillar, test=True)
    with stream(out, s1, REDIS) as connections:
        answer = node.call("apply", pillar)
    assert (answer["reloads"], answer["changes"]) == ([], foretold["changes"])
    assert answer["changes"] == {
        "permanent": {"zone k3s": {"target": {"old": "default", "new": "DROP"}}}
    }
    assert set(connections.counts) == {"open"}
    assert node.call("apply", pillar)["changes"] == {}
    node.firewall_cmd("--reload")
    assert not {each for each in findings(node) if each.startswith("k3s ")}
    assert node.call("apply", pillar)["changes"] == {}
