"""The ways in which k3sfw comes to its nodes: each is a ``Site`` of ``walked_site``."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from lab import daemons
from tests import other_firewalld, salt_packaging
from tests.compatibility.walked_site import (
    CHECKOUT,
    COMPILED,
    SYNCED,
    Site,
    WithMinions,
    lay_out,
    write_pillar,
)
from tests.paths import ROOT

GIT = "/srv/git"
KEY = "/srv/ssh_key"
SSHD = """\
HostKey /srv/host_key
AuthorizedKeysFile /srv/user.pub
StrictModes no
Subsystem sftp internal-sftp
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
"""
# What is packed into a distribution.
SOURCES = (
    "LICENSE",
    "NOTICE",
    "README.md",
    "pyproject.toml",
    "setup.cfg",
    "saltext_k3sfw",
    *SYNCED,
)


class Synced(WithMinions):
    """From the file server of the master, as docs/first-rollout.md has it."""

    name = "synced"


class Onedir(Synced):
    """The same, where Salt is laid out as its own packages are."""

    name = "onedir"

    def prepare(self, host):
        super().prepare(host)
        salt_packaging.make_onedir(host.path(self.salt.folder), self.salt.folder)


class Bundle(Synced):
    """The same, with minions that are laid out as SUSE's bundle is."""

    name = "bundle"
    configuration = "/etc/venv-salt-minion"
    target = "/var/lib/venv-salt-minion/local"

    def prepare(self, host):
        super().prepare(host)
        host.run(["mkdir", "--parents", self.configuration, self.target])
        salt_packaging.look_in(host.path(self.salt.folder), self.target)

    def start_minion(self, host):
        config = {
            **daemons.minion_config(host.name, self.lab.master.ipv4),
            "pki_dir": f"{self.configuration}/pki/minion",
            "cachedir": "/var/cache/venv-salt-minion",
            "log_file": "/var/log/venv-salt-minion.log",
            "sock_dir": "/run/venv-salt/minion",
            "pidfile": "/run/venv-salt-minion.pid",
        }
        host.path(f"{self.configuration}/minion").write_text(yaml.safe_dump(config))
        minion = [self.program("salt-minion"), f"--config-dir={self.configuration}"]
        environment = ["env", f"VENV_PIP_TARGET={self.target}"]
        host.spawn([*environment, *minion], "/var/log/venv-salt-minion.out")


class Gitfs(WithMinions):
    """From git repositories, by the configuration that docs/gitfs.md shows."""

    name = "gitfs"

    def lay_out(self):
        master = self.lab.master
        lay_out(master, self.salt)
        site = master.path("/srv/pillar") / "k3s/site.sls"
        site.parent.mkdir(parents=True)
        site.write_text("{}")
        (site.parents[1] / "top.sls").write_text("base: {}")
        for name, folder in (("k3sfw", CHECKOUT), ("site", "/srv/pillar")):
            self._commit(folder, f"{GIT}/{name}.git")

    def _commit(self, folder, repository):
        git = ["git", "-C", folder, "-c", "user.name=k3sfw", "-c", "user.email=k3sfw@example.com"]
        for command in (
            ["git", "init", "--quiet", "--initial-branch=main", folder],
            [*git, "add", "--all"],
            [*git, "commit", "--quiet", "--message=The files"],
            ["git", "clone", "--quiet", "--bare", folder, repository],
            # What is served is in the repository only.
            ["rm", "-r", folder],
        ):
            self.lab.master.run(command)

    def master_config(self):
        page = (ROOT / "docs/gitfs.md").read_text()
        shown = page.split("```yaml\n")[1].split("```")[0]
        config = yaml.safe_load(shown.replace("https://git.example.com", f"file://{GIT}"))
        return {**daemons.master_config(file_roots=[], pillar_roots=[]), **config}

    def sync(self):
        for update in ("fileserver.update", "git_pillar.update"):
            self.run(update)
        super().sync()


class Installed(WithMinions):
    """Installed by pip beside Salt; the file server has only SLS files and pillar."""

    is_equipped = True

    def prepare(self, host):
        super().prepare(host)
        install(host, self.salt, self.distribution(host))

    def distribution(self, host):
        """What pip is told to install on the host."""
        raise NotImplementedError

    def lay_out(self):
        lay_out(self.lab.master, self.salt, synced=False)

    def sync(self):
        """Nothing has to be synced; pillar is made anew, as the nodes have their roles now."""
        self.call("saltutil.refresh_grains")
        self.call("saltutil.refresh_pillar", "wait=True")


class Wheel(Installed):
    """From the built wheel."""

    name = "wheel"

    def distribution(self, host):
        return [build(host, "wheel")]


class Sdist(Installed):
    """From the source distribution, which pip builds on the host."""

    name = "sdist"

    def distribution(self, host):
        return [build(host, "sdist")]


class Editable(Installed):
    """In place, from a checkout on each host."""

    name = "editable"

    def distribution(self, host):
        source = host.path("/srv") / "source"
        source.mkdir()
        copy_sources(source)
        return ["--editable", "/srv/source"]


class Masterless(Site):
    """A checkout on each node, and ``salt-call --local``; pillar names the nodes."""

    name = "masterless"
    has_master = False

    def prepare(self, host):
        super().prepare(host)
        if not host.spec.is_node:
            return
        lay_out(host, self.salt)
        write_pillar(host, pinned(self.nodes))
        roots = daemons.master_config(
            file_roots=["/srv/salt", f"{CHECKOUT}/salt"],
            pillar_roots=["/srv/pillar", f"{CHECKOUT}/pillar"],
        )
        config = {"id": host.name, "user": "root", "file_client": "local"}
        config |= {name: roots[name] for name in ("file_roots", "pillar_roots")}
        host.path("/etc/salt/minion").write_text(yaml.safe_dump(config))

    def ship(self):
        self.call("saltutil.sync_all")

    def call(self, function, *arguments):
        program = [self.program("salt-call"), "--local", "--out=json", function, *arguments]
        return {host.name: self.answer(host, program)["local"] for host in self.nodes}


class Ssh(Site):
    """salt-ssh from a master that has the package; on the nodes there is only sshd."""

    name = "salt-ssh"
    has_master = False
    is_equipped = True
    # Before 3008 salt-ssh takes no extension along by itself, but what the file root has of one.
    extra = "k3sfw_engine,jeepney,netaddr,psutil"

    def prepare(self, host):
        if host.spec.is_node:
            # Its Python is the host's own.
            other_firewalld.put_on(host)
            return
        super().prepare(host)
        install(host, self.salt, [build(host, "wheel")])

    def ship(self):
        master = self.lab.master
        lay_out(master, self.salt)
        write_pillar(master, pinned(self.nodes))
        config = daemons.master_config(
            file_roots=["/srv/salt", f"{CHECKOUT}/salt"],
            pillar_roots=["/srv/pillar", f"{CHECKOUT}/pillar"],
        )
        master.path("/etc/salt/master").write_text(
            yaml.safe_dump({**config, "thin_extra_mods": self.extra})
        )
        self._serve_ssh()

    def _serve_ssh(self):
        master, roster, known = self.lab.master, {}, []
        master.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])
        for host in self.nodes:
            # A home without what this machine's shells read: they may put another Python first.
            host.run(["mount", "-t", "tmpfs", "tmpfs", "/root"])
            host.run(["mkdir", "--parents", "/run/sshd"])
            host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/srv/host_key"])
            host.path("/srv/user.pub").write_bytes(master.path(f"{KEY}.pub").read_bytes())
            host.path("/srv/sshd_config").write_text(SSHD)
            host.spawn(["/usr/sbin/sshd", "-D", "-f", "/srv/sshd_config"], "/var/log/sshd.out")
            known.append(f"{host.ipv4} {host.path('/srv/host_key.pub').read_text()}")
            roster[host.name] = {"host": host.ipv4, "user": "root", "priv": KEY}
        # As an operator who knows the keys of the hosts; otherwise salt-ssh asks for each.
        master.path("/etc/ssh/ssh_known_hosts").write_text("".join(known))
        master.path("/etc/salt/roster").write_text(yaml.safe_dump(roster))

    def call(self, function, *arguments):
        if not function.startswith("k3sfw."):
            return self._ssh(function, *arguments)
        # salt-ssh gives pillar to states alone.
        returned = self._ssh("state.single", "module.run", f"name={function}", *arguments)
        answers = {}
        for node, states in returned.items():
            (state,) = states.values()
            answers[node] = state["changes"]["ret"]
        return answers

    def _ssh(self, *words):
        words = ["--out=json", "--static", "*", *words]
        return self.answer(self.lab.master, [self.program("salt-ssh"), *words])


def pinned(nodes):
    """The nodes as an operator without a list of accepted minions names them."""
    return {
        "nodes": {
            host.name: {"role": host.role, "addresses": [host.ipv4, host.ipv6]} for host in nodes
        }
    }


def copy_sources(target):
    """Copy what a distribution is built from into a folder."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=COMPILED)
        else:
            shutil.copy(ROOT / name, target / name)


def build(host, what):
    """Build a wheel or an sdist with the tools of the tests; its path on the host."""
    with tempfile.TemporaryDirectory() as folder:
        copy_sources(Path(folder))
        code = f"from setuptools.build_meta import build_{what} as build; print(build('dist'))"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        name = done.stdout.split()[-1]
        shutil.copy(Path(folder, "dist", name), host.path("/srv"))
    return f"/srv/{name}"


def install(host, salt, distribution):
    """Install it by the pip of this Salt, with what it needs, and without a network."""
    pip = [str(salt.python), "-m", "pip", "install", "--quiet", "--no-build-isolation"]
    found = ["--no-index"]
    if salt.wheels:
        shutil.copytree(salt.wheels, host.path("/srv") / "wheels")
        found.append("--find-links=/srv/wheels")
    host.run([*pip, *found, *distribution])


WAYS = {
    way.name: way
    for way in (Synced, Masterless, Gitfs, Ssh, Wheel, Sdist, Editable, Bundle, Onedir)
}
