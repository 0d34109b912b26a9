"""A small cluster on which k3sfw arrives by one way of shipping, with a Salt of the cell's choice.

``standing`` raises it; ``Site`` is how its operator uses it, whatever the way. Each host changes a
copy of its own of the environment of Salt, at the same path.
"""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import daemons
from lab.cluster import Lab, together
from lab.wait import wait_until
from tests import other_firewalld
from tests.cluster.salt_site import AGENT, MASTER, SERVER

HOSTS = (MASTER, SERVER, AGENT)
# Where the operator has the files of k3sfw: on the master, or on each masterless node.
CHECKOUT = "/srv/k3sfw"
# What Salt syncs; the links in salt/ lead there.
SYNCED = ("_grains", "_modules", "_output", "_runners", "_states", "_utils")
COMPILED = shutil.ignore_patterns("__pycache__", "*.egg-info")


@dataclass(frozen=True)
class Salt:
    """An installed Salt: its environment, and wheels of what k3sfw needs and it lacks."""

    folder: Path

    @property
    def programs(self):
        return self.folder / "bin"

    @property
    def python(self):
        return self.folder / "bin/python"

    @property
    def wheels(self):
        """The folder of the wheels, or None if the environment has all that is needed."""
        return self.folder / "wheels" if (self.folder / "wheels").exists() else None


@contextmanager
def standing(way, salt):
    """The cluster for as long as the block lasts, with k3sfw shipped and nothing applied.

    way
        A class of ``ways``.
    """
    with Lab(f"walk-{way.name}-{os.getpid()}", HOSTS, salt=False, ephemeral=True) as lab:
        site = way(lab, salt)
        together(site.prepare, list(lab.hosts.values()))
        site.ship()
        yield site


class Site:
    """The cluster as its operator uses it; a way of shipping fills in the rest."""

    name = ""
    has_master = True
    # Whether the way itself brings the packages that k3sfw imports.
    is_equipped = False

    def __init__(self, lab, salt):
        self.lab = lab
        self.salt = salt

    @property
    def nodes(self):
        return [host for host in self.lab.hosts.values() if host.spec.is_node]

    @property
    def site_pillar(self):
        """What the operator has in k3s/site.sls."""
        return {}

    def prepare(self, host):
        """Bring one host to the point where Salt can start."""
        other_firewalld.put_on(host)
        own_copy(host, self.salt.folder)

    def ship(self):
        """Bring k3sfw to where the nodes find it."""
        raise NotImplementedError

    def call(self, function, *arguments):
        """What a function returns, by node."""
        raise NotImplementedError

    def run(self, function, *arguments):
        """What a runner of the master returns."""
        raise NotImplementedError

    def equip_master(self):
        """What the master's runner says of the package that it lacks; then install it there."""
        if self.is_equipped or not self.salt.wheels:
            return ""
        told = self.run("k3sfw.tables")
        install = ["-m", "pip", "install", "--no-index", "--quiet", "netaddr"]
        shutil.copytree(self.salt.wheels, self.lab.master.path("/srv") / "wheels")
        self.lab.master.run([str(self.salt.python), *install, "--find-links=/srv/wheels"])
        return told

    def states(self, function, *arguments):
        """What the states of a run return, by node, in their order."""
        returned = self.call(function, *arguments)
        assert set(returned) == {host.name for host in self.nodes}, returned
        for node, states in returned.items():
            assert isinstance(states, dict), f"{node}: {states}"
            assert all("__run_num__" in str(state) for state in states.values()), states
        return {
            node: sorted(states.values(), key=lambda state: state["__run_num__"])
            for node, states in returned.items()
        }

    def apply(self, *options):
        """What ``k3s_firewall`` returns, by node."""
        states = self.states("state.apply", "k3s.firewall", *options)
        return {node: each[-1] for node, each in states.items()}

    def program(self, name):
        """The path of a Salt program."""
        return str(self.salt.programs / name)

    def answer(self, host, argv, timeout=300):
        """What a Salt program on a host writes as JSON."""
        done = host.run(argv, timeout=timeout, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"{' '.join(argv)}: {done.stdout}{done.stderr}") from None


class WithMinions(Site):
    """A master and its minions, as daemons."""

    def ship(self):
        self.lay_out()
        master = self.lab.master
        daemons.start_master(master, self.master_config(), programs=self.salt.programs)
        for host in self.nodes:
            self.start_minion(host)
        wait_until(self._answer, "The minions do not answer", timeout=240)
        self.sync()
        wait_until(self._are_known, "The master does not know the roles", timeout=60)

    def start_minion(self, host):
        """Start the minion of a node."""
        master = self.lab.master.ipv4
        config = daemons.minion_config(host.name, master)
        daemons.start_minion(host, master, config, programs=self.salt.programs)

    def lay_out(self):
        """Write what the master serves."""
        lay_out(self.lab.master, self.salt)

    def master_config(self):
        """The configuration of the master."""
        return daemons.master_config(
            file_roots=["/srv/salt", f"{CHECKOUT}/salt"],
            pillar_roots=["/srv/pillar", f"{CHECKOUT}/pillar"],
        )

    def sync(self):
        """As docs/first-rollout.md says."""
        self.call("saltutil.sync_all")
        self.run("saltutil.sync_all")

    def call(self, function, *arguments):
        words = ["--out=json", "--static", "--timeout=120", "*", function, *arguments]
        return self.answer(self.lab.master, [self.program("salt"), *words])

    def run(self, function, *arguments):
        words = ["--out=json", function, *arguments]
        return self.answer(self.lab.master, [self.program("salt-run"), *words])

    def _answer(self):
        words = ["--out=json", "--static", "--timeout=10", "*", "test.ping"]
        command = ["timeout", "30", self.program("salt"), *words]
        try:
            answers = self.answer(self.lab.master, command)
        except AssertionError:
            return False  # the master is still starting
        return answers == {host.name: True for host in self.nodes}

    def _are_known(self):
        grains = self.run("cache.grains", "*")
        return all("k3s_role" in grains.get(host.name, {}) for host in self.nodes)


def own_copy(host, folder):
    """Give the host a copy of this folder that it may change, at the same path."""
    kept = f"/srv/own{folder}"
    host.run(["mkdir", "--parents", f"{kept}/upper", f"{kept}/work"])
    options = f"lowerdir={folder},upperdir={kept}/upper,workdir={kept}/work"
    host.run(["mount", "-t", "overlay", "overlay", "-o", options, str(folder)])


def lay_out(host, salt, synced=True):
    """Write the checkout to a host, and the wheels of what its Salt lacks.

    synced
        Whether the folders that Salt syncs belong to it.
    """
    tree = host.path("/srv") / "k3sfw"
    for name in SYNCED if synced else ():
        shutil.copytree(daemons.CHECKOUT / name, tree / name, ignore=COMPILED)
    for name in ("salt", "pillar"):
        # With the links to the folders above.
        shutil.copytree(daemons.CHECKOUT / name, tree / name, symlinks=True)
    if not synced:
        for link in filter(Path.is_symlink, (tree / "salt").iterdir()):
            link.unlink()
    if salt.wheels:
        shutil.copytree(salt.wheels, tree / "salt/k3s/wheels")


def write_pillar(host, mapping):
    """Write the operator's own pillar file."""
    file = host.path("/srv/pillar") / "k3s/site.sls"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"k3s": mapping}))
