"""salt-run k3sfw.explain: the node tells the way, the packet shows it, and both are compared."""

import json
import os
from contextlib import contextmanager

import pytest

from tests import forked
from tests.cluster.packets.reach import responding

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

API, ETCD = 6443, 2379


@pytest.fixture(scope="module")
def master(applied):
    """The master with the runner, synced as an operator does it."""
    assert "runners.k3sfw" in applied.salt_run("saltutil.sync_all")["runners"]
    return applied.lab.master


@pytest.fixture
def explained(applied, master):
    """What the runner returns and its exit code."""

    def explain(*words, form="--out=json"):
        done = forked.salt(master, "salt-run", [form, "k3sfw.explain", *words])
        assert "Traceback" not in done.stdout + done.stderr
        if form != "--out=json":
            return done.stdout, done.returncode
        return json.loads(done.stdout)["data"], done.returncode

    with responding(applied.host("s1"), {API, ETCD}):
        yield explain


@contextmanager
def dropped(host, port):
    """Packets to this port are dropped by rules that firewalld knows nothing of."""
    rules = "table inet cut { chain in { type filter hook input priority -300; "
    rules += f"tcp dport {port} ct state new drop; }}; }}\n"
    host.run(["nft", "-f", "-"], input=rules)
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "cut"])


def test_a_row_and_a_packet_agree(explained):
    data, code = explained("from=a1", "to=s1", f"port={API}", "packet=True")
    assert code == 0
    assert (data["decision"]["at"], data["decision"]["fate"]) == ("rows", "allowed")
    assert [each["status"] for each in data["packets"]] == ["ok"]
    assert data["contradictions"] == []


def test_no_row_and_a_packet_agree(explained):
    data, code = explained("from=a1", "to=s1", f"port={ETCD}", "packet=True")
    assert code == 0
    assert (data["decision"]["at"], data["decision"]["fate"]) == ("zone", "rejected")
    assert [(each["status"], each["expect"]) for each in data["packets"]] == [("ok", "closed")]
    assert data["contradictions"] == []


def test_what_firewalld_does_not_know_of_is_named_by_the_packet(explained, applied):
    with dropped(applied.host("s1"), API):
        data, code = explained("from=a1", "to=s1", f"port={API}", "packet=True")
    assert code == 0
    assert data["decision"]["fate"] == "allowed"
    assert data["packets"][0]["status"] in ("blocked", "no_answer")
    (contradiction,) = data["contradictions"]
    assert "something that firewalld does not know of" in contradiction


def test_an_outsider_is_asked_about_by_its_address(explained, applied):
    outside = applied.host("out").ipv4
    data, code = explained(f"from={outside}", f"to={applied.host('s1').ipv4}", f"port={ETCD}")
    assert (code, data["decision"]["fate"], data["to"]["name"]) == (0, "rejected", "s1")


def test_a_question_that_cannot_be_asked_exits_with_1_and_a_reason(explained):
    for words in (
        ("from=a1", "to=nowhere", "port=1"),
        ("to=s1", "port=1"),
        ("from=a1", "to=s1", "port=etcd"),
        ("from=192.0.2.250", "to=s1", "port=1", "packet=True"),
    ):
        data, code = explained(*words)
        assert (code, data["view"]) == (1, "error"), words
        assert "Fix: " in data["problems"][0], data


def test_the_text_is_for_a_terminal(explained):
    text, code = explained("from=a1", "to=s1", f"port={ETCD}", "packet=True", form="--out=k3sfw")
    assert code == 0
    assert text.splitlines()[0] == "a1 (192.0.2.21) -> s1 (192.0.2.11), tcp/2379"
    assert "  = The packet is rejected, by step 6 (zone)." in text.splitlines()
    assert max(map(len, text.splitlines())) <= 80
