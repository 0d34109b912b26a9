"""A lab with Salt's real daemons, and what an operator does with both on the master."""

import hashlib
import json
import logging
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import attr
import pytest
from saltfactories.daemons.master import SaltMaster
from saltfactories.daemons.minion import SaltMinion

from lab import daemons
from lab.cluster import Lab
from lab.spec import DEFAULT_HOSTS
from lab.wait import wait_until
from tests import forked, other_firewalld
from tests.cluster.packets.tables import PORTS

RESERVED = ",".join(map(str, sorted(PORTS)))
APPLIED = "k3sfw_|-k3s_firewall_|-k3s_firewall_|-managed"
# Two ways to run minions, and both must work: with synced modules and a process for each job, which
# is Salt's default, and with installed modules and a thread for each job, which saves most of the
# time of a job.
SYNCED = {}
INSTALLED = {"module_dirs": [str(daemons.CHECKOUT)], "multiprocessing": False}


@contextmanager
def standing(name, minion_settings, specs=DEFAULT_HOSTS):
    """Start these hosts with every minion connected, and nothing of ours synced or applied."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    for chatty in ("pytestshellutils", "saltfactories"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Kept in a name: an ephemeral lab ends with its object.
    lab = Lab(f"{name}{os.getpid()}", specs, salt=False, ephemeral=True)
    raised = Cluster(lab, minion_settings)
    try:
        lab.up()
        for host in lab.hosts.values():
            if host.spec.firewalld:
                other_firewalld.put_on(host)
        raised.start_daemons()
        yield raised
    finally:
        raised.end()


class _InHost:
    """A daemon of pytest-salt-factories that is started inside a host of the lab."""

    __slots__ = ()

    def cmdline(self, *arguments):
        return [*self.host.prefix, *super().cmdline(*arguments)]

    def get_check_events(self):
        # Events would go to a listener on the machine's localhost, which no host can reach.
        return []


@attr.s(kw_only=True, slots=True)
class Master(_InHost, SaltMaster):
    host = attr.ib(repr=False)


@attr.s(kw_only=True, slots=True)
class Minion(_InHost, SaltMinion):
    host = attr.ib(repr=False)


class Cluster:
    """The lab and its Salt, as an operator uses them on the master."""

    def __init__(self, lab, minion_settings):
        self.lab = lab
        self._specs = {spec.name: spec for spec in lab.specs}
        self._minion_settings = minion_settings
        self._daemons = {}
        self._remembered = None
        self._kept_site = None

    # --- what tests use ---

    @property
    def nodes(self):
        """The hosts that are K3s nodes, by name."""
        return {name: host for name, host in self.lab.hosts.items() if host.spec.is_node}

    @property
    def is_applied(self):
        """Whether the rules were applied in this session, and the next test expects them."""
        return self._remembered is not None

    def host(self, name):
        return self.lab.host(name)

    def salt(self, target, function, *arguments, **options):
        """What every minion of the target returns; the target is a glob or a list of ids."""
        words = [target] if isinstance(target, str) else ["-L", ",".join(target)]
        words += [function, *_words(arguments, options)]
        words = ["--out=json", "--static", "--timeout=60", *words]
        return _json(forked.salt(self.lab.master, "salt", words))

    def salt_run(self, function, *arguments, **options):
        """What a runner returns on the master."""
        words = ["--out=json", function, *_words(arguments, options)]
        return _json(forked.salt(self.lab.master, "salt-run", words))

    def salt_call(self, name, function, *arguments, **options):
        """What the function returns when it is called on the node itself, and its return code."""
        words = ["--out=json", "--retcode-passthrough", function, *_words(arguments, options)]
        done = forked.salt(self.host(name), "salt-call", words)
        return _json(done)["local"], done.returncode

    def apply(self, target="*", test=False):
        """Apply ``k3s.firewall``: what the state k3s_firewall returns on every minion."""
        returned = self.salt(target, "state.apply", "k3s.firewall", test=test)
        for minion, states in returned.items():
            assert isinstance(states, dict) and APPLIED in states, f"{minion}: {states}"
        return {minion: states[APPLIED] for minion, states in returned.items()}

    def converge(self, *names):
        """Apply on these nodes, or on all of the lab; every one of them must succeed."""
        returned = self.apply(names or list(self.nodes))
        assert set(returned) == set(names or self.nodes)
        for minion, state in returned.items():
            assert state["result"] is True, f"{minion}: {state['comment']}"

    def sync(self, *names):
        """Sync grains, modules and engine of this checkout to these minions, or to all."""
        if self._minion_settings is not INSTALLED:
            self.salt(names or list(self.nodes), "saltutil.sync_all")

        def are_known():
            grains = self.salt_run("cache.grains", "*")
            return all("k3s_role" in grains.get(name, {}) for name in names or self.nodes)

        # Minions send new grains to the master some time after the command has ended.
        wait_until(are_known, "The master does not know every minion's role", timeout=30, every=0.5)

    @contextmanager
    def site(self, mapping):
        """Write the operator's own pillar file, k3s/site.sls, for the block."""
        self._write_site(mapping)
        try:
            yield
        finally:
            self._write_site(self._kept_site)

    @contextmanager
    def keeping_site(self, mapping, *names):
        """The same for all tests in the block, applied on these nodes at once."""
        self._kept_site = mapping
        self._apply_site(names)
        try:
            yield
        finally:
            self._kept_site = None
            self._apply_site(names)

    @contextmanager
    def master_with(self, **settings):
        """Restart the master with these settings for the block."""
        self._restart_master(settings)
        try:
            yield
        finally:
            self._restart_master({})

    def join(self, spec, **config):
        """Add a node: host, minion (with this in its configuration) and modules."""
        host = self.lab.add_host(spec)
        if spec.firewalld:
            other_firewalld.put_on(host)
        self.start_minion(host, **config)
        self.sync(host.name)
        return host

    def leave(self, name):
        """Destroy a node, and make the master forget it."""
        self.lab.remove_host(name)
        self._forget(name)

    def start_minion(self, host, **config):
        """Start the minion of a host and wait until it answers."""
        self._begin_minion(host, config)
        daemons.wait_for_minions(self.lab.master, [host], timeout=120)

    def stop_minion(self, host):
        """Stop the minion of a host, or of a destroyed host by its name."""
        self._daemons.pop(getattr(host, "name", host)).terminate()

    def on_every_node(self, act):
        """Do the same with all node hosts at once; the results by name."""
        return _together(act, self.nodes)

    # --- what fixtures use ---

    def start_daemons(self):
        master = self.lab.master
        self._begin_master({})
        for host in self.nodes.values():
            self._begin_minion(host, {})
        daemons.wait_for_minions(master, list(self.nodes.values()), timeout=180)

    def end(self):
        # The lab first: the factories then do not wait for daemons that are gone with their hosts.
        self.lab.down()
        while self._daemons:
            self._daemons.popitem()[1].terminate()

    def apply_first(self):
        """Apply on every node; each test from here on finds this state of the firewalls."""
        self.sync()
        self.converge()
        self.remember()

    def remember(self):
        """Record the firewalls as the state that the next test must find."""
        self._remembered = self.on_every_node(_fingerprint)

    def put_back(self):
        """Undo what a test changed; without a change it only reads every node."""
        self._write_site(self._kept_site)
        members = self._put_members_back()
        if not self.is_applied:
            return
        self.on_every_node(lambda host: host.start_firewalld())
        now = self.on_every_node(_fingerprint)
        changed = [name for name in now if members or now[name] != self._remembered[name]]
        if changed:
            self.converge(*changed)
            self.remember()

    def _put_members_back(self):
        """Return whether there was anything to do."""
        expected = self._specs
        strangers = set(self.lab.hosts) - set(expected)
        for name in strangers:
            self.leave(name)
        lost = set(expected) - set(self.lab.hosts)
        for name in lost:
            self._forget(name)
            self.join(expected[name])
        silent = set(self.nodes) - set(self._daemons)
        for name in silent:
            self.start_minion(self.host(name))
        return strangers | lost

    # --- helpers ---

    @property
    def _site_file(self):
        return self.lab.srv / "pillar/k3s/site.sls"

    def _write_site(self, mapping):
        file = self._site_file
        if mapping is None:
            with suppress(FileNotFoundError):
                file.unlink()
        else:
            file.parent.mkdir(exist_ok=True)
            # JSON is YAML.
            file.write_text(json.dumps(mapping, indent=2) + "\n")

    def _apply_site(self, names):
        self._write_site(self._kept_site)
        self.converge(*names)
        self.remember()

    def _forget(self, name):
        """End what is left of a destroyed host, and release its name."""
        if name in self._daemons:
            self.stop_minion(name)
            key = self._on_master(daemons.salt_program("salt-key"), "--yes", "--delete", name)
            assert key.returncode == 0, key.stderr

    def _on_master(self, *command):
        return self.lab.master.run(list(command), timeout=120, check=False)

    def _begin_master(self, settings):
        master = self.lab.master
        _write_config(master, "/etc/salt/master", {**daemons.master_config(), **settings})
        # Only the factory believes that it is open: else the factory would wait for keys to accept.
        known = {"id": master.name, "conf_file": "/etc/salt/master", "open_mode": True}
        self._begin(Master, "salt-master", master, known)

    def _restart_master(self, settings):
        self._daemons.pop(self.lab.master.name).terminate()
        self._begin_master(settings)
        daemons.wait_for_minions(self.lab.master, list(self.nodes.values()), timeout=120)

    def _begin_minion(self, host, config):
        # A minion's connection could otherwise use a port that a test is about to listen on.
        reserve = f"echo {RESERVED} > /proc/sys/net/ipv4/ip_local_reserved_ports"
        host.run(["sh", "-c", reserve])
        given = daemons.minion_config(host.name, self.lab.master.ipv4)
        settings = {**given, **self._minion_settings, **config}
        _write_config(host, "/etc/salt/minion", settings)
        known = {"id": host.name, "conf_file": "/etc/salt/minion"}
        self._begin(Minion, "salt-minion", host, known)

    def _begin(self, kind, program, host, known):
        daemon = kind(
            host=host,
            config=known,
            script_name=daemons.salt_program(program),
            start_timeout=180,
            # There is nothing to save, and a graceful end takes seconds.
            slow_stop=False,
        )
        self._daemons[host.name] = daemon
        daemon.start()


def _fingerprint(host):
    """What firewalld keeps on disk and in the kernel, to compare it later."""
    folder = host.path("/etc/firewalld")
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.*")
        if path.is_file() and path.suffix != ".old"
    }
    return files, host.run(["nft", "--stateless", "list", "ruleset"]).stdout


def _together(act, hosts):
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        return dict(zip(hosts, pool.map(act, hosts.values())))


def _write_config(host, path, config):
    host.path(path).write_text(json.dumps(config, indent=2) + "\n")


def _words(arguments, options):
    """Arguments as typed for Salt, which reads each as YAML."""
    text = [_text(argument) for argument in arguments]
    return [*text, *(f"{name}={_text(value)}" for name, value in options.items())]


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


def _json(done: subprocess.CompletedProcess):
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise AssertionError(
            f"{done.args} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
        ) from None
