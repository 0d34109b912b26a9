"""What the tests of administration look at: a node's firewall in all layers, its minion's log, the
events of the master, and the callers of firewalld."""

import json
import sys
from pathlib import Path

from lab.wait import wait_until
from tests.firewalld_views import files, runtime

EVENT_READER = Path(__file__).with_name("salt_event_reader.py")
# Salt's master sends itself an event for every compilation of a pillar.
SALTS_OWN = "minion/refresh/"
# A master has a new key for its traffic: now and then, and after a minion's key was deleted.
NEW_KEY = "key"

# One rule of every node, as firewalld writes it.
REDIS_RULE = 'rule family="ipv4" port port="6379" protocol="tcp" accept'


def everything(host):
    """What an observer could see change: files, runtime configuration and kernel."""
    return files(host), runtime(host), kernel(host)


def not_ours(host):
    """Files and runtime of everything without our name, comparable across reloads."""
    permanent = {name: data[0] for name, data in files(host).items() if "/k3s" not in name}
    others = {key: value for key, value in runtime(host).items() if not key[1].startswith("k3s")}
    return permanent, others


def kernel(host):
    """All rules with their handles, so that a reload shows even if it brings the same rules."""
    return host.run(["nft", "-a", "list", "ruleset"]).stdout


def lose_address(host, address):
    """Create drift: remove a node from its ipset at runtime."""
    host.run(["firewall-cmd", "--ipset=k3s-node-4", f"--remove-entry={address}"])


def has_address(host, address):
    """Whether a node is in its ipset, according to the kernel."""
    return address in host.run(["nft", "list", "set", "inet", "firewalld", "k3s-node-4"]).stdout


def take_redis_rule(host):
    """Create drift: remove a rule at runtime."""
    host.run(["firewall-cmd", "--policy=k3s-rows", f"--remove-rich-rule={REDIS_RULE}"])


def has_redis_rule(host):
    """Whether the rule is in force, according to the kernel."""
    chain = "filter_IN_policy_k3s-rows_allow"
    rules = host.run(["nft", "list", "chain", "inet", "firewalld", chain]).stdout
    return "meta nfproto ipv4 tcp dport 6379 accept" in rules


class MinionLog:
    """What a minion, and other processes with the same log file, write from now on."""

    def __init__(self, host):
        self._file = host.path("/var/log/salt/minion")
        self._start = self._file.stat().st_size if self._file.exists() else 0

    def text(self):
        if not self._file.exists():
            return ""
        with self._file.open("rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")


class Events:
    """The events on the bus of a master."""

    def __init__(self, master):
        self._file = master.path("/run/events")
        self._master = master
        self._marks = 0
        self._read = 0

    def __enter__(self):
        self._out = self._file.open("w")
        self._reader = self._master.popen(
            [sys.executable, str(EVENT_READER)], stdin=-1, stdout=self._out, stderr=self._out
        )
        self.new()
        return self

    def __exit__(self, *_error):
        self._reader.stdin.close()
        self._reader.wait(10)
        self._out.close()

    def new(self):
        """Everything since the last call, except what Salt sends by itself: (tag, data) each."""
        self._marks += 1
        mark = f"test/mark/{self._marks}"
        self._reader.stdin.write(f"{mark}\n")
        self._reader.stdin.flush()
        wait_until(
            lambda: f'"{mark}"' in self._file.read_text(),
            f"{self._file.read_text()[-300:]}: no {mark}",
            timeout=30,
            every=0.05,
        )
        lines = [json.loads(line) for line in self._file.read_text().splitlines()]
        fresh, self._read = lines[self._read :], len(lines)
        return [
            (event["tag"], event["data"])
            for event in fresh
            if not event["tag"].startswith((SALTS_OWN, "test/mark/")) and event["tag"] != NEW_KEY
        ]

    def from_managed(self):
        """The events of the state since the last call: {minion: its return}."""
        return {data["id"]: data["data"] for tag, data in self.new() if tag == "k3sfw/managed"}


class Callers:
    """The callers of firewalld on a host, by their unique names on its bus, in order."""

    MATCH = "type='method_call',destination='org.fedoraproject.FirewallD1'"

    def __init__(self, host):
        self._host = host
        self._file = host.path("/run/callers")

    def __enter__(self):
        with self._file.open("w") as output:
            self._monitor = self._host.popen(
                ["dbus-monitor", "--system", "--profile", self.MATCH], stdout=output, stderr=output
            )
        self._until(lambda: "NameLost" in self._file.read_text(), "dbus-monitor shows nothing")
        return self

    def __exit__(self, *_error):
        self._monitor.terminate()
        self._monitor.wait(10)

    def in_order(self):
        # One more call, after all others, shows that theirs have arrived.
        self._host.run(
            [
                *("dbus-send", "--system", "--print-reply", "--dest=org.fedoraproject.FirewallD1"),
                *("/org/fedoraproject/FirewallD1", "org.freedesktop.DBus.Peer.Ping"),
            ]
        )
        self._until(lambda: "\tPing" in self._file.read_text(), "dbus-monitor shows no ping")
        calls = [line.split("\t") for line in self._file.read_text().splitlines()]
        return [call[3] for call in calls if call[0] == "mc" and call[-1] != "Ping"]

    @staticmethod
    def _until(happened, missing):
        wait_until(happened, missing, timeout=10, every=0.02)
