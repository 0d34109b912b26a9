"""A small cluster with a Salt of the test's choice, whose master serves a version of its choice.

The master has its own checkout, ``/srv/k3sfw``, laid out as this one is.
"""

import json
import os
import shutil
import tarfile
import zipfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

from lab import daemons
from lab.cluster import Lab
from lab.spec import HostSpec
from lab.wait import wait_until
from tests import forked, other_firewalld

MASTER = HostSpec("m", "master", 10)
SERVER = HostSpec("s1", "server", 11)
AGENT = HostSpec("a1", "agent", 21)

RELEASES = Path(__file__).parent / "releases"
# Kept as its whole checkout; of an older one there are the modules, under the pillar of today.
LAST_RELEASE = "0.2.0"
CHECKOUT = "/srv/k3sfw"
# Where pip would install what Salt syncs from here.
INSTALLED_AS = {
    "_grains": "saltext_k3sfw/grains",
    "_modules": "saltext_k3sfw/modules",
    "_output": "saltext_k3sfw/output",
    "_runners": "saltext_k3sfw/runners",
    "_states": "saltext_k3sfw/states",
    "_utils/k3sfw_engine": "k3sfw_engine",
}
FOLDERS = (
    *("_grains", "_modules", "_output", "_runners", "_states", "_utils"),
    *("pillar", "salt"),
)
SYNCED_TO = "/var/cache/salt/minion/extmods"
# All that differs on a node that 0.1.0 or 0.2.0 furnished: in force after the next reload.
NEW_TARGET = {"permanent": {"zone k3s": {"target": {"old": "default", "new": "DROP"}}}}


@contextmanager
def standing(name, programs, others=(), prepare=lambda host: None, **minions):
    """The cluster for as long as the block lasts, its minions connected, nothing synced.

    programs
        The folder of the Salt programs.
    others
        More hosts.
    prepare
        What is done with each host before Salt starts.
    minions
        What is in the configuration of single minions.
    """
    hosts = (MASTER, SERVER, AGENT, *others)
    with Lab(f"{name}{os.getpid()}", hosts, salt=False, ephemeral=True) as lab:
        site = Site(lab, programs, minions)
        for host in lab.hosts.values():
            if host.spec.firewalld:
                other_firewalld.put_on(host)
            prepare(host)
        daemons.start_master(lab.master, _master_config(), programs=programs)
        for host in site.nodes:
            site.start_minion(host)
        daemons.wait_for_minions(lab.master, site.nodes, timeout=180, programs=programs)
        yield site


def _master_config():
    pillar = ["/srv/pillar", f"{CHECKOUT}/pillar"]
    return {
        **daemons.master_config(file_roots=[f"{CHECKOUT}/salt"], pillar_roots=pillar),
        # Salt's own 20 seconds could be over before a test that is about them has begun.
        "fileserver_list_cache_time": 3600,
    }


class Site:
    """The cluster as the operator at the master uses it."""

    def __init__(self, lab, programs, minions):
        self.lab = lab
        # By host, where it has not those of all others.
        self._programs = defaultdict(lambda: programs)
        self._minions = minions
        # Whether the master knows which minions are nodes of the cluster.
        self._are_known = False

    @property
    def nodes(self):
        return [host for host in self.lab.hosts.values() if host.spec.runs_minion]

    def host(self, name):
        return self.lab.host(name)

    # -- the checkout ---

    def check_out(self, release=None, change=None):
        """Make the master serve this release, or the tree under test, without syncing it.

        change
            What is done with the tree, given its folder, before it is served.
        """
        tree = self.lab.srv / "k3sfw"
        for name in FOLDERS:
            shutil.rmtree(tree / name, ignore_errors=True)
        if release == LAST_RELEASE:
            # Without a filter: the Python of Debian 12 does not know them.
            with tarfile.open(RELEASES / f"k3sfw-{release}.tar.xz") as archive:
                archive.extractall(tree)
        else:
            for name in FOLDERS if release is None else ("pillar", "salt"):
                # The file root has links to the folders above.
                shutil.copytree(
                    daemons.CHECKOUT / name, tree / name, ignore=_COMPILED, symlinks=True
                )
            if release is not None:
                _unpack(RELEASES / f"k3sfw-{release}-py3-none-any.whl", tree)
        self._serve_nodes_below_k3s(release not in (None, LAST_RELEASE))
        if change:
            change(tree)

    def _serve_nodes_below_k3s(self, wanted):
        """The pillar of a release, as far as its engine differs: it reads the nodes below k3s."""
        file = self.lab.srv / "pillar/k3s/nodes.sls"
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        if wanted:
            nodes = {
                host.name: {"role": host.role, "addresses": [host.ipv4, host.ipv6]}
                for host in self.nodes
            }
            file.write_text(json.dumps({"k3s": {"nodes": nodes}}))

    def sync(self):
        """Do what docs/upgrading.md says to bring it to the minions; what Salt told of it."""
        self.salt_run("fileserver.clear_file_list_cache")
        told = self.salt("*", "saltutil.sync_all")
        if not self._are_known:
            # Minions tell the master their grains on their own time, after the command's end.
            wait_until(self._has_grains, "The master does not know the roles", timeout=60)
            self._are_known = True
        return told

    def _has_grains(self):
        grains = self.salt_run("cache.grains", "*")
        return all("k3s_role" in grains.get(host.name, {}) for host in self.nodes)

    # -- Salt ---

    def salt(self, target, function, *arguments):
        """What every minion of the target returns."""
        words = ["--out=json", "--static", "--timeout=120", target, function, *arguments]
        return self._on_master("salt", words)

    def salt_run(self, function, *arguments):
        """What a runner returns."""
        return self._on_master("salt-run", ["--out=json", function, *arguments])

    def states(self, target, function, *arguments):
        """What the last state of a run of one or more states returns, by minion."""
        returned = self.salt(target, function, *arguments)
        for minion, states in returned.items():
            assert isinstance(states, dict), f"{minion}: {states}"
        return {
            minion: max(states.values(), key=lambda state: state["__run_num__"])
            for minion, states in returned.items()
        }

    def apply(self, target="*", *options):
        """What ``k3s_firewall`` returns on every minion of the target."""
        return self.states(target, "state.apply", "k3s.firewall", *options)

    def start_minion(self, host):
        config = daemons.minion_config(host.name, self.lab.master.ipv4)
        config |= self._minions.get(host.name, {})
        programs = self._programs[host.name]
        daemons.start_minion(host, self.lab.master.ipv4, config, programs=programs)

    def restart_minion(self, host):
        daemons.stop(host, "salt-minion")
        self.start_minion(host)
        self._wait_for([host])

    def install_salt(self, host, programs):
        """Put another Salt in the place of the host's, with all that Salt keeps there."""
        self._programs[host.name] = programs
        if host.name != self.lab.master.name:
            self.restart_minion(host)
            return
        daemons.stop(host, "salt-master")
        daemons.start_master(host, _master_config(), programs=programs)
        self._wait_for(self.nodes)

    def _wait_for(self, minions):
        master = self.lab.master
        programs = self._programs[master.name]
        daemons.wait_for_minions(master, minions, timeout=180, programs=programs)

    def salt_call(self, host, function, *arguments):
        """What salt-call on a host says, with its return code."""
        words = ["--out=json", "--retcode-passthrough", function, *arguments]
        done = forked.salt(host, "salt-call", words, programs=self._programs[host.name])
        return done.stdout + done.stderr, done.returncode

    def _on_master(self, program, words):
        programs = self._programs[self.lab.master.name]
        done = forked.salt(self.lab.master, program, words, programs=programs)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise AssertionError(done.stdout + done.stderr) from None


_COMPILED = shutil.ignore_patterns("__pycache__")


def _unpack(wheel, tree):
    with zipfile.ZipFile(wheel) as archive:
        for folder, installed in INSTALLED_AS.items():
            for name in archive.namelist():
                if Path(name).is_relative_to(installed):
                    file = tree / folder / Path(name).relative_to(installed)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(archive.read(name))


def synced(host):
    """Every module that lies on a minion: its path below the folder of synced modules, its text."""
    return sources(host.path(SYNCED_TO))


def sources(folder):
    """Every source file below a folder: its path there, its text."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.py")}


def served(site):
    """The same of what the master serves: what must lie on its minions after a sync."""
    tree = site.lab.srv / "k3sfw"
    return {
        path.removeprefix("_"): text
        for path, text in sources(tree).items()
        # Runners lie on the master alone.
        if not path.startswith(("pillar/", "salt/", "_runners/"))
    }
