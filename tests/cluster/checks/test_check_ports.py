"""check_ports on a whole cluster: a healthy one is OK, and each cut is found and blamed."""

import contextlib
import json
import signal

import pytest

from lab.daemons import salt_program
from lab.k3s import flannel
from lab.k3s.addresses import ip
from lab.wait import wait_until
from tests.cluster.packets.reach import responding
from tests.cluster.packets.tables import LISTED

pytestmark = pytest.mark.cluster

VXLAN = 8472
# On a port of its own, so that a test can take its listener away.
KUBELET = 10250
API_RULE = 'rule family="ipv4" source ipset="k3s-node-4" port port="6443" protocol="tcp" accept'


@pytest.fixture(scope="module")
def serving(applied):
    """The cluster with every service of the tables on every node, and flannel's overlay."""
    nodes = applied.nodes
    numbers = {host.spec.number: host for host in nodes.values()}
    with contextlib.ExitStack() as stack:
        for number, host in numbers.items():
            others = {other: peer for other, peer in numbers.items() if other != number}
            stack.enter_context(flannel.vxlan(host, number, others))
            stack.enter_context(responding(host, LISTED - {VXLAN, KUBELET}))
        yield applied


@pytest.fixture
def kubelets(serving):
    """What listens for the kubelet on each node; a test may end one."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(_ended_once(responding(host, {KUBELET})))
            for name, host in serving.nodes.items()
        }


@contextlib.contextmanager
def _ended_once(serving):
    stack = contextlib.ExitStack()
    with stack:
        stack.enter_context(serving)
        yield stack


@pytest.fixture
def cluster_ok(serving, kubelets):
    """The cluster, in which check_ports finds nothing: each finding is the test's own."""
    return serving


def checked(cluster, target="*", **options):
    """What check_ports returns on each node, after it has returned on all of them."""
    returned = cluster.salt(target, "k3sfw.check_ports", **options)
    assert all(isinstance(answer, dict) for answer in returned.values()), returned
    return returned


def problems(cluster, target="*", **options):
    """The problems of each node that has any."""
    found = checked(cluster, target, **options)
    return {name: answer["problems"] for name, answer in found.items() if answer["problems"]}


def sentences(found):
    return [sentence for each in found.values() for sentence in each]


def starting(found, *starts):
    """Fail if a sentence begins with none of these."""
    strangers = [each for each in sentences(found) if not each.startswith(starts)]
    assert not strangers, strangers


# -- a healthy cluster ----------------------------------------------------------------------------


def test_a_healthy_cluster_is_ok_on_every_node_and_every_peer_was_asked(cluster_ok):
    answers = checked(cluster_ok, full=True)
    assert set(answers) == set(cluster_ok.nodes)
    for name, answer in answers.items():
        assert answer["status"] == "OK", name
        assert answer["summary"].endswith("(4 of 4 peers probed)")
        assert {check["status"] for check in answer["checks"]} == {"ok"}


def test_both_signs_are_asked_in_both_families(cluster_ok):
    rows = checked(cluster_ok, "a1", full=True)["a1"]["checks"]
    asked = {(row["to"], row["address"], row["protocol"], row["port"]): row for row in rows}
    for address in ("192.0.2.11", "2001:db8::11"):
        etcd, api = asked["s1", address, "tcp", "2379"], asked["s1", address, "tcp", "6443"]
        assert (etcd["expect"], api["expect"]) == ("closed", "open")
        assert etcd["evidence"].startswith("rejected, as it should be")
        assert api["evidence"] == "connected"
        (free,) = [
            row
            for row in rows
            if row["address"] == address and row["description"] == "a port that no row names"
        ]
        assert free["expect"] == "closed"


def test_vxlan_is_proven_by_an_answer_through_the_overlay(cluster_ok):
    rows = checked(cluster_ok, "s1", full=True)["s1"]["checks"]
    vxlan = [row for row in rows if (row["port"], row["from"]) == (str(VXLAN), "s1")]
    assert {row["to"] for row in vxlan} == {"s2", "s3", "a1", "a2"}
    assert all("answered through the overlay" in row["evidence"] for row in vxlan)
    through = [row for row in rows if row["description"].startswith("pods of other nodes")]
    assert {row["to"] for row in through} == {"s2", "s3", "a1", "a2"}


def test_the_check_can_be_limited_by_from_to_and_port(cluster_ok):
    answers = checked(cluster_ok, full=True, **{"from": "a1", "to": "s1", "port": "2379"})
    assert [
        (row["from"], row["to"], row["address"], row["expect"]) for row in answers["a1"]["checks"]
    ] == [("a1", "s1", "192.0.2.11", "closed"), ("a1", "s1", "2001:db8::11", "closed")]
    # The peer judges its own rows of that port; no other node reports anything.
    assert [row["port"] for row in answers["s1"]["checks"]] == ["2379-2380"]
    assert [answers[name]["checks"] for name in ("s2", "s3", "a2")] == [[], [], []]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"port": "0"}, "port=0 is not a port"),
        ({"port": "etcd"}, "port='etcd' is not a port"),
        ({"to": "s9"}, "s9: no such node in this cluster. Fix: name one of a1, a2, s1, s2, s3"),
        ({"peers": "some"}, "peers='some' is neither a number nor all"),
        ({"form": "a1"}, "check_ports has no argument form"),
    ],
)
def test_an_invalid_question_is_refused_in_a_sentence(applied, options, sentence):
    answer = applied.salt("s1", "k3sfw.check_ports", **options)["s1"]
    assert sentence in answer
    assert "Traceback" not in answer


def test_fewer_peers_are_sampled_and_counted(applied):
    answer = checked(applied, "s1", peers=2, full=True)["s1"]
    assert answer["summary"].endswith("(2 of 4 peers probed)")
    assert len({row["to"] for row in answer["checks"]} - {"s1"}) == 2


# -- one cut, found and blamed on the right node, and nothing else --------------------------------


def test_a_lost_rule_is_blamed_on_its_node_and_the_printed_fix_fixes_it(cluster_ok):
    cluster_ok.host("s1").run(
        ["firewall-cmd", "--policy=k3s-rows", f"--remove-rich-rule={API_RULE}"]
    )
    found = problems(cluster_ok)
    assert set(found) == set(cluster_ok.nodes)
    for name in ("s2", "s3", "a1", "a2"):
        assert found[name] == [
            f"blocked tcp/6443 {name} -> s1 (192.0.2.11): rejected by s1 itself (firewalld). "
            "Fix: salt s1 state.apply k3s.firewall"
        ]
    (own,) = found["s1"]
    assert own.startswith("blocked tcp/6443 any -> s1: runtime: policy k3s-rows lacks rich_rules")
    type_the_mend(cluster_ok, found["a1"][0])
    assert problems(cluster_ok) == {}


def type_the_mend(cluster, sentence):
    """Run the fix, which must be a command for the master."""
    program, target, *words = sentence.partition("Fix: ")[2].split()
    assert program == "salt"
    done = cluster.lab.salt("--out=json", "--static", target, *words)
    assert done.returncode == 0, done.stdout


def test_a_stopped_service_is_reported_on_its_node_only(cluster_ok, kubelets):
    kubelets["a2"].close()
    starting(
        problems(cluster_ok),
        *(f"no_listener tcp/{KUBELET} {name} -> a2" for name in ("any", "s1", "s2", "s3", "a1")),
    )
    assert {answer["status"] for answer in checked(cluster_ok).values()} == {"WARN"}


def test_an_isolated_host_is_down_for_all_others_and_nothing_else_is(cluster_ok):
    others = ["s1", "s2", "s3", "a1"]
    host = cluster_ok.host("a2")
    host.run(["ip", "link", "set", "eth0", "arp", "off"])
    host.run(
        [
            "nft",
            "add table netdev cut; add chain netdev cut in { type filter hook ingress "
            "device eth0 priority 0; policy drop; }",
        ]
    )
    try:
        for name in others:
            cluster_ok.host(name).run(["ip", "neighbour", "flush", "dev", "eth0"])
        found = problems(cluster_ok, others)
    finally:
        host.run(["nft", "delete table netdev cut"])
        host.run(["ip", "link", "set", "eth0", "arp", "on"])
        wait_until(lambda: cluster_ok.salt("a2", "test.ping") == {"a2": True}, "no a2", timeout=60)
    assert set(found) == set(others)
    for name in others:
        assert all(f"{name} -> a2 (" in sentence for sentence in found[name]), found[name]
        assert {sentence.split()[0] for sentence in found[name]} == {"host_down"}


def test_vxlan_that_is_dropped_on_arrival_is_blamed_on_the_node_that_drops_it(cluster_ok):
    with rule(cluster_ok.host("s2"), "input", f"ip saddr 192.0.2.11 udp dport {VXLAN} drop"):
        found = problems(cluster_ok)
    starting(found, "no_answer udp/8472 s1 -> s2", "blocked udp/8472 s1 -> s2")
    assert set(found) == {"s1", "s2"}
    assert "arrive at s2, which drops them" in found["s2"][0]


def test_a_lost_forwarding_entry_is_blamed_on_its_node(cluster_ok):
    s3, a1 = cluster_ok.host("s3"), cluster_ok.host("a1")
    (entry,) = [
        line
        for line in s3.run(["bridge", "fdb", "show", "dev", "flannel.1"]).stdout.splitlines()
        if f"dst {a1.ipv4} " in line
    ]
    words = ["dev", "flannel.1", "dst", a1.ipv4]
    s3.run(["bridge", "fdb", "del", entry.split()[0], *words])
    try:
        found = problems(cluster_ok)
    finally:
        s3.run(["bridge", "fdb", "append", entry.split()[0], *words])
    starting(found, "no_route udp/8472 s3 -> a1", "no_answer udp/8472 a1 -> s3")
    assert "the overlay of s3 has no entry for a1" in found["s3"][0]


def test_an_output_rule_of_this_host_is_blamed_on_this_host(cluster_ok):
    with rule(cluster_ok.host("a1"), "output", "ip daddr 192.0.2.13 tcp dport 6443 drop"):
        found = problems(cluster_ok)
    assert set(found) == {"a1"}
    (sentence,) = found["a1"]
    assert sentence.startswith(
        "local_block tcp/6443 a1 -> s3 (192.0.2.13): blocked by an output rule on a1 itself"
    )


@contextlib.contextmanager
def dropping_everything(host):
    """The drop table that a killed reload leaves behind."""
    chains = "".join(
        f"add chain inet firewalld_policy_drop filter_{hook} "
        f"{{ type filter hook {hook} priority 9; policy drop; }}; "
        f"add rule inet firewalld_policy_drop filter_{hook} ct state established,related accept; "
        for hook in ("input", "output", "forward")
    )
    host.run(["nft", f"add table inet firewalld_policy_drop; {chains}"])
    try:
        yield
    finally:
        host.run(["nft", "delete table inet firewalld_policy_drop"])


def test_a_node_behind_a_leftover_drop_table_answers_no_peer(cluster_ok):
    host = cluster_ok.host("a2")
    others = ["s1", "s2", "s3", "a1"]
    with contextlib.ExitStack() as stack:
        for name in others:
            stack.enter_context(knowing_each_other(cluster_ok.host(name), host))
        stack.enter_context(dropping_everything(host))
        # Its own answer would be a new connection to the master.
        found = problems(cluster_ok, others)
    assert set(found) == set(others)
    for name in others:
        assert all(f"{name} -> a2" in sentence for sentence in found[name]), found[name]
        assert {sentence.split()[0] for sentence in found[name]} == {"no_answer"}


def test_a_node_that_drops_neighbour_discovery_too_is_to_be_healed_before_it_is_started(cluster_ok):
    host = cluster_ok.host("a2")
    with dropping_everything(host):
        ip(cluster_ok.host("s1"), f"neighbour flush to {host.ipv6} dev eth0")
        (sentence,) = [
            each for each in problems(cluster_ok, ["s1"])["s1"] if each.startswith("host_down")
        ]
    assert "it is down, or drops everything, neighbour discovery included" in sentence
    assert ". Fix: salt a2 k3sfw.heal if its minion answers, otherwise start a2" in sentence


@contextlib.contextmanager
def knowing_each_other(*hosts):
    """Keep IPv6 neighbours, whatever is dropped.

    That table drops neighbour discovery too, so a host whose entry has aged looks as if it was
    down.
    """
    for host, other in (hosts, hosts[::-1]):
        ip(host, f"neighbour replace {other.ipv6} lladdr {mac_of(other)} dev eth0 nud permanent")
    try:
        yield
    finally:
        for host, other in (hosts, hosts[::-1]):
            ip(host, f"neighbour delete {other.ipv6} dev eth0")


def mac_of(host):
    (link,) = json.loads(host.run(["ip", "-json", "link", "show", "eth0"]).stdout)
    return link["address"]


def test_a_port_that_should_be_closed_is_reported_as_exposed_on_its_node(cluster_ok):
    host = cluster_ok.host("s1")
    host.run(["firewall-cmd", "--add-port=2379/tcp"])
    try:
        found = problems(cluster_ok)
    finally:
        host.run(["firewall-cmd", "--remove-port=2379/tcp"])
    assert set(found) == {"a1", "a2"}, found
    starting(found, "exposed tcp/2379 a1 -> s1", "exposed tcp/2379 a2 -> s1")
    assert "reachable although no row allows it" in found["a1"][0]


def test_ports_that_no_row_names_are_exposed_where_they_are_opened(cluster_ok):
    host = cluster_ok.host("s2")
    host.run(["firewall-cmd", "--add-port=20000-29999/tcp"])
    try:
        found = problems(cluster_ok)
    finally:
        host.run(["firewall-cmd", "--remove-port=20000-29999/tcp"])
    assert set(found) == {"s1", "s3", "a1", "a2"}
    for sentence in sentences(found):
        assert sentence.startswith("exposed tcp/2")
        assert " -> s2 (192.0.2.12, 2001:db8::12): reachable although no row allows it" in sentence


def test_a_redirected_port_is_not_mistaken_for_a_dropped_one(cluster_ok):
    host = cluster_ok.host("s2")
    redirect = "add rule inet nat c tcp dport 9500 redirect to :9095"
    chain = "add chain inet nat c { type nat hook prerouting priority -100; }"
    host.run(["nft", f"add table inet nat; {chain}; {redirect}"])
    try:
        assert problems(cluster_ok) == {}
    finally:
        host.run(["nft", "delete table inet nat"])


@contextlib.contextmanager
def rule(host, hook, text):
    """Add one nft rule at this hook, after firewalld."""
    host.run(
        [
            "nft",
            f"add table inet t; add chain inet t c {{ type filter hook {hook} priority 20; }}; "
            f"add rule inet t c {text}",
        ]
    )
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "t"])


# -- nothing is left behind -----------------------------------------------------------------------


def test_a_check_changes_nothing_and_leaves_nothing_behind(cluster_ok):
    host = cluster_ok.host("s1")
    before = host.run(["nft", "--stateless", "list", "ruleset"]).stdout
    checked(cluster_ok)
    assert host.run(["nft", "--stateless", "list", "ruleset"]).stdout == before
    assert "nft" not in [process.name for process in host.processes()]


def test_the_packet_recorder_is_removed_even_if_the_check_is_killed(cluster_ok):
    host = cluster_ok.host("s1")
    # Silent, so that the check takes long.
    with rule(cluster_ok.host("a2"), "prerouting", "ip saddr 192.0.2.11 tcp dport 6379 drop"):
        process = host.popen([salt_program("salt-call"), "k3sfw.check_ports"], stdout=-1, stderr=-1)
        wait_until(lambda: "k3sfw_witness" in tables(host), "No witness", timeout=30, every=0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait_until(lambda: "k3sfw_witness" not in tables(host), "The witness stays", timeout=5)
    assert not host.path("/.nft.history").exists()


def tables(host):
    return host.run(["nft", "list", "tables"]).stdout


# -- the function itself --------------------------------------------------------------------------


def test_the_return_code_shows_the_severity(cluster_ok, kubelets):
    assert cluster_ok.salt_call("s2", "k3sfw.check_ports")[1] == 0
    kubelets["a2"].close()
    assert cluster_ok.salt_call("s2", "k3sfw.check_ports")[1] == 1
    with rule(cluster_ok.host("a2"), "input", "tcp dport 443 drop"):
        assert cluster_ok.salt_call("s2", "k3sfw.check_ports")[1] == 2


def test_a_state_fails_if_the_check_fails_and_changes_nothing(cluster_ok):
    def state():
        returned = cluster_ok.salt(
            "s2", "state.single", "k3sfw.ports_checked", "name=ports", test=False
        )
        (answer,) = returned["s2"].values()
        assert answer["changes"] == {}
        return answer

    assert state()["result"] is True
    with rule(cluster_ok.host("a2"), "input", "ip saddr 192.0.2.12 tcp dport 443 drop"):
        failed = state()
    assert failed["result"] is False
    assert "no_answer tcp/443 s2 -> a2 (192.0.2.22)" in failed["comment"]


def test_the_answer_is_the_same_as_json(cluster_ok):
    answer, _code = cluster_ok.salt_call("a1", "k3sfw.check_ports", full=True)
    assert json.loads(json.dumps(answer)) == answer
    assert set(answer) == {"status", "summary", "problems", "counts", "promises", "checks"}
    assert set(answer["checks"][0]) == {
        "from",
        "to",
        "address",
        "protocol",
        "port",
        "description",
        "expect",
        "status",
        "by",
        "evidence",
        "hint",
    }
