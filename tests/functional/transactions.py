"""A host on which a run is killed, frozen or made to fail at one of its steps."""

import json
import time
from pathlib import Path

from lab.wait import wait_until
from tests import forked
from tests.functional.hosts import Node

DRIVER = Path(__file__).with_name("transaction_driver.py")


class TransactionNode(Node):
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


def steps_of(node, pillar, new):
    """The steps of this change, and the states before and after it."""
    old = node.state()
    steps = node.drive(99, "kill", new)["steps"]
    after = node.state()
    node.call("apply", pillar)
    return steps, old, after
