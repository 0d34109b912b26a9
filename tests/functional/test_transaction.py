"""An apply ends in the new state or in the old one, wherever it dies, and never in between."""

import json
import time
from pathlib import Path

import conftest
import pytest

from lab.wait import wait_until
from tests import forked

DRIVER = Path(__file__).with_name("transaction_driver.py")


@pytest.fixture(scope="module")
def shared():
    """One host for all that leave it as it was: a firewalld that runs is most of a test's time."""
    with conftest.standing("trans") as raised:
        yield Host(raised.host("s1"))


class Host(conftest.Node):
    def drive(self, at, way, pillar, **more):
        """What an apply says that is killed, frozen or made to fail at a step."""
        given = json.dumps({"pillar": pillar, "role": "server", **more})
        done = forked.engine(self.host, DRIVER, [str(at), way], given)
        return json.loads(done.stdout) if done.stdout else {"died": done.returncode}

    def state(self):
        """What is permanent, at runtime and in the kernel, without orders that mean nothing."""
        files = {name: content for name, (content, _time, _inode) in self.files().items()}
        return files, self.runtime(), self.kernel()

    def others(self):
        """What others have at runtime: our objects left out."""
        saved = [line for line in self.run("iptables-save").splitlines() if "CNI" in line]
        others = {key: each for key, each in self.runtime().items() if not key[1].startswith("k3s")}
        return others, saved

    def kernel(self):
        tables = [line for line in self.nft("list", "tables").splitlines() if "inet" in line]
        return sorted([*tables, *self.nft("-s", "list", "table", "inet", "firewalld").splitlines()])

    def wait_until_ended(self, within=30):
        deadline = time.monotonic() + within
        while self.path("/var/lib/k3sfw/transaction").exists():
            assert time.monotonic() < deadline, self.watchdog_log()
            time.sleep(0.05)

    def watchdog_log(self):
        log = self.path("/var/lib/k3sfw/watchdog.log")
        return log.read_text() if log.exists() else "no log"

    def _is_idle(self):
        names = {process.name for process in self.host.processes()}
        return not names & {"flock", "sh", "python3", "nft", "program"}

    def assert_nothing_is_left(self):
        # Who undid it ends a moment after it is undone.
        wait_until(self._is_idle, f"something still runs: {self.host.processes()}", timeout=10)
        tables = self.nft("list", "tables").split("\n")
        assert [line for line in tables if "k3sfw" in line or "policy_drop" in line] == []
        assert not list(self.path("/etc/firewalld").rglob("*.new"))


def test_wherever_an_apply_is_killed_the_node_is_old_or_new_and_the_next_converges(shared, pillar):
    one = {
        **pillar,
        "nodes": {**pillar["nodes"], "a2": {"role": "agent", "addresses": ["192.0.2.22"]}},
    }
    shared.call("apply", pillar)
    for first, second in ((pillar, one), (one, pillar)):
        shared.call("apply", second)
        new = shared.state()
        shared.call("apply", first)
        old = shared.state()
        at, answer = 0, {"died": 1}
        while "died" in answer:
            answer = shared.drive(at, "kill", second)
            if "died" in answer:
                if at > 0:  # Nobody watches yet, and nothing is changed.
                    shared.wait_until_ended()
                assert shared.state() in (old, new), (at, first is one)
                shared.assert_nothing_is_left()
            at += 1
        assert at > 5
        assert shared.state() == new


def test_wherever_a_first_apply_is_killed_the_node_is_old_or_new_and_others_keep_theirs(
    shared, pillar
):
    shared.call("remove")
    shared.firewall_cmd("--zone=public", "--add-port=8443/tcp")
    shared.firewall_cmd("--zone=work", "--add-interface=dummy7")
    shared.firewall_cmd(
        "--direct",
        "--add-rule",
        "ipv4",
        "filter",
        "OUTPUT",
        "0",
        "-p",
        "tcp",
        "--dport",
        "9",
        "-j",
        "DROP",
    )
    shared.run("iptables", "-t", "nat", "-N", "CNI-HOSTPORT-DNAT")
    shared.run("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "CNI-HOSTPORT-DNAT")
    before = shared.others()
    old = shared.state()
    at, answer, killed = 0, {"died": 1}, 0
    while "died" in answer:
        answer = shared.drive(at, "kill", pillar)
        if "died" in answer:
            if at > 0:
                shared.wait_until_ended()
            assert shared.others() == before, at
            assert shared.state() == old or shared.call("compare", pillar)["changes"] == {}, at
            shared.assert_nothing_is_left()
            killed += 1
        at += 1
    assert killed > 8
    assert shared.others() == before
    assert shared.call("compare", pillar)["changes"] == {}
