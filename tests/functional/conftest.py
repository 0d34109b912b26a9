"""A host with a real firewalld for each test, and the engine run inside of it."""

import copy
import json
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.spec import HostSpec
from tests import firewalld_views, forked, other_firewalld

DRIVER = Path(__file__).with_name("engine_driver.py")

SERVER = HostSpec("s1", "server", 11)
OUTSIDER = HostSpec("out", "plain", 99, firewalld=False)


@pytest.fixture
def lab():
    with standing("func") as raised:
        yield raised


@contextmanager
def standing(name, hosts=(SERVER, OUTSIDER)):
    """These hosts, for as long as the block lasts. A module's tests may share them."""
    with Lab(f"{name}{os.getpid()}", hosts, salt=False, ephemeral=True) as raised:
        other_firewalld.put_on(raised.host(SERVER.name))
        yield raised


@pytest.fixture
def node(lab):
    return Node(lab.host("s1"))


@pytest.fixture
def outsider(lab):
    return lab.host("out")


@pytest.fixture
def pillar():
    """Tables of the documented shape, small enough to read; a test changes its own copy."""
    return copy.deepcopy(
        {
            "ports": {
                "cluster": {
                    "etcd": {
                        "protocol": "tcp",
                        "port": "2379-2380",
                        "source": "server",
                        "destination": "server",
                    },
                    "kubelet": {
                        "protocol": "tcp",
                        "port": 10250,
                        "source": "any",
                        "destination": "any",
                    },
                    "flannel": {
                        "protocol": "udp",
                        "port": 8472,
                        "source": "any",
                        "destination": "any",
                    },
                    "pods": {"protocol": "any", "source": "pods", "destination": "any"},
                },
                "manager": {"redis": {"protocol": "tcp", "port": 6379}},
            },
            "nodes": {
                "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
                "s2": {"role": "server", "addresses": ["192.0.2.12"]},
                "a1": {"role": "agent", "addresses": ["192.0.2.21"]},
            },
        }
    )


@pytest.fixture
def new_row(pillar):
    """The same tables with one row more, for which no reload is needed."""
    row = {"protocol": "tcp", "port": 9100, "source": "any", "destination": "any"}
    cluster = {**pillar["ports"]["cluster"], "exporter": row}
    return {**pillar, "ports": {**pillar["ports"], "cluster": cluster}}


class Node:
    """A host on which the engine is called, with what a test wants to know of firewalld."""

    def __init__(self, host):
        self.host = host

    def call(self, function, pillar=None, *, role="server", **options):
        """The engine's answer, which must not be a refusal."""
        answer = self.try_call(function, pillar, role=role, **options)
        assert "refused" not in answer, answer["refused"]
        return answer

    def try_call(self, function, pillar=None, *, role="server", **options):
        """The engine's answer, or ``{"refused": sentences}``; no other output is allowed."""
        given = {"pillar": pillar, "minion_id": "s1", "role": role, "options": options}
        done = forked.engine(self.host, DRIVER, [function], json.dumps(given))
        assert not done.stderr, done.stderr
        return json.loads(done.stdout)

    def run(self, *argv, check=True):
        return self.host.run(list(argv), check=check).stdout

    def firewall_cmd(self, *options):
        return forked.firewall_cmd(self.host, options).stdout.strip()

    def nft(self, *arguments):
        return self.run("nft", *arguments)

    def rule_handles(self, text):
        """Chain and handle of every rule of firewalld's table that ends with this text."""
        chain, found = "", []
        for line in self.nft("-a", "list", "table", "inet", "firewalld").splitlines():
            rule, _hash, comment = line.strip().partition(" # handle ")
            if rule.startswith("chain "):
                chain = rule.split()[1]
            elif rule.endswith(text):
                found.append((chain, comment))
        assert found, f"no rule ends with {text}"
        return found

    def path(self, name):
        return self.host.path(name)

    def files(self):
        """Every file of the permanent configuration: its bytes, when it was written, its inode."""
        return firewalld_views.files(self.host)

    def everything(self):
        """What an observer could see change: files, runtime configuration, kernel."""
        return self.files(), self.runtime(), self.nft("-s", "list", "ruleset")

    def runtime(self):
        """All that firewalld has at runtime, by kind and name, comparable after a reload."""
        return firewalld_views.runtime(self.host)

    def reload_counter(self):
        return ReloadCounter(self.host)

    def signal_firewalld(self, number):
        for process in self.host.processes():
            if process.name == "firewalld":
                os.kill(process.pid, number)
                return
        raise AssertionError("no firewalld runs")

    def freeze_firewalld(self):
        self.signal_firewalld(signal.SIGSTOP)


class ReloadCounter:
    """Counts the reloads of firewalld by the signal that each of them ends with."""

    RULE = "type='signal',interface='org.fedoraproject.FirewallD1',member='Reloaded'"

    def __init__(self, host):
        self.host = host

    def __enter__(self):
        self.log = self.host.path("/run/reloads")
        with self.log.open("w") as output:
            self.monitor = self.host.popen(
                ["dbus-monitor", "--system", self.RULE], stdout=output, stderr=output
            )
        self._wait_for(lambda: self.log.read_text())
        return self

    def __exit__(self, *_error):
        self.monitor.terminate()
        self.monitor.wait(10)

    def count(self):
        # One more signal after all that we caused tells that theirs have arrived.
        marker = f"k3sfw.marker{time.monotonic_ns()}"
        self.host.run(
            [
                "dbus-send",
                "--system",
                "/k3sfw",
                "org.fedoraproject.FirewallD1.Reloaded",
                f"string:{marker}",
            ]
        )
        self._wait_for(lambda: marker in self.log.read_text())
        return self.log.read_text().count("member=Reloaded") - self.log.read_text().count("marker")

    @staticmethod
    def _wait_for(condition):
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "dbus-monitor shows nothing"
            time.sleep(0.02)
