"""The hosts of the functional tests, and the engine called on one of them."""

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import Lab
from lab.spec import HostSpec
from tests import firewalld_views, forked, other_firewalld
from tests.reload_counter import ReloadCounter

ENGINE_DRIVER = Path(__file__).with_name("engine_driver.py")

SERVER = HostSpec("s1", "server", 11)
OUTSIDER = HostSpec("out", "plain", 99, firewalld=False)


@contextmanager
def standing(name, hosts=(SERVER, OUTSIDER)):
    """Start these hosts for the block. The tests of a module may share them."""
    with Lab(f"{name}{os.getpid()}", hosts, salt=False, ephemeral=True) as raised:
        for spec in hosts:
            if spec.firewalld:
                other_firewalld.put_on(raised.host(spec.name))
        yield raised


class Node:
    """A host on which the engine is called, with views of its firewalld for tests."""

    def __init__(self, host):
        self.host = host

    def call(self, function, pillar=None, *, role="server", **options):
        """The engine's answer, which must not be a refusal."""
        answer = self.try_call(function, pillar, role=role, **options)
        assert "refused" not in answer, answer["refused"]
        return answer

    def try_call(self, function, pillar=None, *, role="server", **options):
        """The engine's answer, or ``{"refused": sentences}``; no other output is allowed."""
        minion_id = self.host.name
        given = {"pillar": pillar, "minion_id": minion_id, "role": role, "options": options}
        done = forked.engine(self.host, ENGINE_DRIVER, [function], json.dumps(given))
        assert not done.stderr, done.stderr
        return json.loads(done.stdout)

    def run(self, *argv, check=True):
        return self.host.run(list(argv), check=check).stdout

    def firewall_cmd(self, *options):
        return forked.firewall_cmd(self.host, options).stdout.strip()

    def nft(self, *arguments):
        return self.run("nft", *arguments)

    def rule_handles(self, text, start=""):
        """Chain and handle of every rule of firewalld's table that ends with this text."""
        chain, found = "", []
        for line in self.nft("-a", "list", "table", "inet", "firewalld").splitlines():
            rule, _hash, comment = line.strip().partition(" # handle ")
            if rule.startswith("chain "):
                chain = rule.split()[1]
            elif rule.endswith(text) and rule.startswith(start):
                found.append((chain, comment))
        assert found, f"no rule ends with {text}"
        return found

    def path(self, name):
        return self.host.path(name)

    def files(self):
        """Every file of the permanent configuration: its bytes, when it was written, its inode."""
        return firewalld_views.files(self.host)

    def everything(self):
        """What an observer could see change: files, runtime configuration and kernel."""
        return self.files(), self.runtime(), self.nft("-s", "list", "ruleset")

    def runtime(self):
        """The runtime configuration of firewalld by kind and name, comparable across reloads."""
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
