"""salt-run k3sfw.check on a whole cluster: each cut is one cause, at its node, and nothing else."""

import contextlib
import json
from typing import NamedTuple

import pytest

from tests import forked
from tests.cluster.packets.reach import responding
from tests.cluster.packets.tables import LISTED

pytestmark = pytest.mark.cluster

VXLAN, KUBELET = 8472, 10250
API_RULE = 'rule family="ipv4" source ipset="k3s-node-4" port port="6443" protocol="tcp" accept'


class Checked(NamedTuple):
    """What salt-run exits with, the data that it returns, and the text that it shows."""

    code: int
    data: dict
    text: str

    @property
    def causes(self):
        """Each cause: its severity, its nodes, and the beginning of its sentence."""
        return [
            (each["severity"], each["nodes"], each["text"].partition(" (")[0])
            for each in self.data["causes"]
        ]

    @property
    def silent(self):
        return sorted(self.data["coverage"]["silent"])


@pytest.fixture(scope="module")
def master(applied):
    """The master with the runner and the outputter, synced as an operator does it."""
    synced = applied.salt_run("saltutil.sync_all")
    assert "runners.k3sfw" in synced["runners"]
    return applied.lab.master


@pytest.fixture(scope="module")
def serving(overlay, applied, master):
    """The cluster with pods, the overlay and every service; a kubelet's listener can be ended."""
    with contextlib.ExitStack() as stack:
        kubelets = {}
        for name, host in applied.nodes.items():
            stack.enter_context(responding(host, LISTED - {VXLAN, KUBELET}))
            kubelets[name] = stack.enter_context(_ended_once(responding(host, {KUBELET})))
        applied.kubelets = kubelets
        yield applied


@contextlib.contextmanager
def _ended_once(serving):
    with contextlib.ExitStack() as stack:
        stack.enter_context(serving)
        yield stack


def run(cluster, *words, form="json"):
    options = [f"--out={form}"] if form else []
    done = forked.salt(cluster.lab.master, "salt-run", [*options, "k3sfw.check", *words])
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


def check(cluster, *words):
    """The whole cluster's check; each kind of message on the way is left out by ``--out=json``."""
    done = run(cluster, *words)
    return Checked(done.returncode, json.loads(done.stdout)["data"], done.stdout)


@contextlib.contextmanager
def dropped(host, text):
    """Drop what this matches at this host's input, after firewalld."""
    host.run(
        [
            "nft",
            "add table inet cut; add chain inet cut in { type filter hook input priority 20; }; "
            f"add rule inet cut in {text} drop",
        ]
    )
    try:
        yield
    finally:
        host.run(["nft", "delete table inet cut"])


@contextlib.contextmanager
def link_down(cluster, host):
    """Cut a host off: nothing arrives, and it answers no ARP."""
    others = [each for each in cluster.nodes.values() if each is not host]
    host.run(["ip", "link", "set", "eth0", "arp", "off"])
    host.run(
        [
            "nft",
            "add table netdev cut; add chain netdev cut in { type filter hook ingress "
            "device eth0 priority 0; policy drop; }",
        ]
    )
    try:
        for each in others:
            each.run(["ip", "neighbour", "flush", "dev", "eth0"])
        yield
    finally:
        host.run(["nft", "delete table netdev cut"])
        host.run(["ip", "link", "set", "eth0", "arp", "on"])
        # Its connection to the master would wait long before it tries again.
        cluster.stop_minion(host)
        cluster.start_minion(host)


@contextlib.contextmanager
def without_entry(host, peer):
    """Delete flannel's forwarding entry for a peer."""
    listed = host.run(["bridge", "fdb", "show", "dev", "flannel.1"]).stdout.splitlines()
    (entry,) = [line for line in listed if f"dst {peer.ipv4} " in line]
    words = [entry.split()[0], "dev", "flannel.1", "dst", peer.ipv4]
    host.run(["bridge", "fdb", "del", *words])
    try:
        yield
    finally:
        host.run(["bridge", "fdb", "replace", *words])


def test_a_healthy_cluster_is_ok_and_every_pair_was_asked(serving):
    found = check(serving)
    assert (found.code, found.data["status"], found.causes, found.silent) == (0, "OK", [], [])
    assert found.data["coverage"]["sentence"] == "Asked all 20 pairs now; no node silent."
    assert found.data["notices"] == found.data["unchecked"] == found.data["differing"] == []


def test_the_text_fits_the_terminal_and_the_exit_code_is_that_of_the_verdict(serving):
    done = run(serving, form="")
    assert done.returncode == 0
    # On a busy machine it tells how far it is.
    lines = [each for each in done.stdout.splitlines() if not each.endswith(" nodes answered")]
    assert lines[:2] == [
        "OK 5 of 5 nodes answered: nothing is wrong.",
        "Asked all 20 pairs now; no node silent.",
    ]
    assert max(map(len, lines)) <= 80


def test_a_rule_that_was_removed_is_one_cause_and_its_fix_fixes_it(serving):
    host = serving.host("s1")
    host.run(["firewall-cmd", "--policy=k3s-rows", f"--remove-rich-rule={API_RULE}"])
    found = check(serving)
    assert found.code == 2
    assert found.causes == [
        ("FAIL", ["s1"], "s1 rejects tcp/6443 from all 4 who asked: its own firewall")
    ]
    program, target, *words = found.data["causes"][0]["fix"].split()
    assert program == "salt"
    assert serving.lab.salt("--out=json", "--static", target, *words).returncode == 0
    assert check(serving).code == 0


def test_a_link_that_is_down_is_one_cause_and_the_node_is_silent(serving):
    with link_down(serving, serving.host("a2")):
        found = check(serving, "timeout=10")
    assert found.causes == [("FAIL", ["a2"], "a2 fails to everyone: its link, or it is down")]
    assert (found.code, found.silent) == (2, ["a2"])
    assert found.data["coverage"]["answered"] == 4


def test_a_listener_that_is_gone_is_a_warning_at_its_node(serving):
    serving.kubelets["a2"].close()
    found = check(serving)
    assert found.code == 1
    assert found.causes == [("WARN", ["a2"], "nothing listens on tcp/10250 of a2")]


def test_an_entry_of_the_overlay_that_is_deleted_is_one_cause(serving):
    with without_entry(serving.host("s3"), serving.host("a1")):
        found = check(serving)
    first, *others = found.data["causes"]
    assert (found.code, first["nodes"], first["targets"]) == (2, ["s3"], ["a1"])
    assert "have no forwarding entry" in first["text"]
    assert first["fix"].startswith("salt s3 cmd.run 'bridge fdb replace ")
    assert [each["text"] for each in others] == ["nothing listens on tcp/10250 of a2"]


def test_one_direction_of_the_overlay_that_is_dropped_is_blamed_on_the_node_that_drops_it(serving):
    s1 = serving.host("s1")
    with dropped(serving.host("s2"), f"ip saddr {s1.ipv4} udp dport {VXLAN}"):
        found = check(serving)
    first, *others = found.data["causes"]
    assert first["text"].startswith(f"s2 drops udp/{VXLAN} from s1 (1 of 4 who asked): ")
    assert [each["text"] for each in others] == ["nothing listens on tcp/10250 of a2"]


def test_two_cuts_at_once_are_two_causes(serving):
    host = serving.host("s3")
    host.run(["firewall-cmd", "--policy=k3s-rows", f"--remove-rich-rule={API_RULE}"])
    with dropped(serving.host("a1"), f"udp dport {VXLAN}"):
        found = check(serving)
    assert [(each["nodes"], each["rows"]) for each in found.data["causes"]] == [
        (["a1"], [f"udp/{VXLAN}"]),
        (["s3"], ["tcp/6443"]),
        (["a2"], ["tcp/10250"]),
    ]


def test_a_minion_that_is_down_is_silent_and_what_the_others_say_stands(serving):
    serving.stop_minion(serving.host("a1"))
    saved = "/var/tmp/answers.json"
    found = check(serving, "timeout=10", f"save={saved}", "junit=/var/tmp/k3sfw.xml")
    assert (found.code, found.silent) == (3, ["a1"])
    assert [each["severity"] for each in found.data["causes"]] == ["WARN"]
    assert found.data["coverage"]["sentence"].startswith("Asked 16 of 20 pairs now, ")
    # The file says the same again, without asking anything.
    again = check(serving, f"from={saved}")
    assert (again.code, again.data["causes"]) == (3, found.data["causes"])


def test_what_cannot_be_asked_is_told_in_a_sentence(serving):
    for words in (["peers=some"], ["timeout=never"], ["form=x"], ["from=/no/such/file"]):
        found = check(serving, *words)
        assert (found.code, found.data["view"]) == (3, "error"), words
        assert "Fix: " in found.data["problems"][0]


def test_nodes_answer_in_the_same_text_by_salt_itself(serving):
    words = ["--out=k3sfw", "*", "k3sfw.check_ports"]
    lines = forked.salt(serving.lab.master, "salt", words).stdout.splitlines()
    heads = sorted(line.partition(" ")[:3:2] for line in lines if line[0] != " ")
    assert [name for name, _rest in heads] == ["a1:", "a2:", "s1:", "s2:", "s3:"]
    assert {rest.split()[0] for _name, rest in heads} == {"WARN"}
    assert [line for line in lines if line.startswith("  - no_listener tcp/10250 a1 -> a2")]
