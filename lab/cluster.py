"""A whole lab: start it, change it while it runs, take it down.

A host ends with its first process. Until the lab is complete, that one ends with the process that
starts the lab. So a crash at any step leaves nothing running; at worst an idle folder stays, which
the next ``up`` or ``down`` of that name removes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from lab import daemons, init, kill_hosts, lab_folder, lock, network
from lab.errors import LabError
from lab.host import Host
from lab.host_files import furnish, hosts_file
from lab.spec import DEFAULT_HOSTS, HostSpec
from lab.wait import wait_until

# Program and the Debian package that has it.
NEEDED = {
    "dbus-daemon": "dbus",
    "dbus-send": "dbus",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
NEEDED_BY_FIREWALLD = {"firewalld": "firewalld", "nft": "nftables"}


class Lab:
    """A lab by its name: ``up``, ``down``, and its hosts in between.

    As a context manager it is up inside the block. With ``ephemeral`` the hosts die
    with this process; without it they run until ``down``.
    """

    def __init__(
        self,
        name: str,
        specs: tuple[HostSpec, ...] = DEFAULT_HOSTS,
        *,
        salt: bool = True,
        ephemeral: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Describe a lab without starting it. ``say`` is called with the progress of ``up``."""
        self.name = name
        self.specs = specs
        self.with_salt = salt
        self.ephemeral = ephemeral
        self._folder = lab_folder.folder_of(name)
        self._say = say
        self._lifelines: list[IO[bytes]] = []

    @classmethod
    def attach(cls, name: str) -> Lab:
        """The lab of this name that is up already."""
        folder = lab_folder.folder_of(name)
        record = folder.read()
        if not folder.alive():
            raise LabError(lab_folder.not_up(name))
        return cls(name, record.specs, salt=record.salt)

    def __enter__(self) -> Lab:
        """Start the lab."""
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the lab down."""
        self.down()

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts by name."""
        return {s.name: Host(s, self._folder.host(s.name)) for s in self.specs}

    @property
    def srv(self) -> Path:
        """The master's /srv; its salt and pillar come before those of the checkout."""
        return self._folder.host(self.master.name) / "srv"

    def host(self, name: str) -> Host:
        """One host by its name."""
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(
                f"Lab {self.name} has no host {name}: it has {', '.join(self.hosts)}."
            ) from None

    def salt(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run ``salt`` on the master; a failure shows in the result."""
        command = [daemons.salt_program("salt"), *arguments]
        return self.master.run(command, timeout=timeout, check=False)

    def up(self) -> Lab:
        """Start the lab and wait until it is ready; a failure leaves nothing behind."""
        self._check()
        with self._folder.changing():
            self._clear()
            with self._undoing_failure(self._erase):
                self._folder.write(lab_folder.Record(self.specs, self.with_salt))
                self._start_switch()
                self._start_hosts(self.specs)
                if not self.ephemeral:
                    self._keep_running()
        return self

    def down(self) -> None:
        """End everything of this lab and remove its files; harmless if it is not up."""
        self._drop_lifelines()
        if self._folder.path.exists() or self._folder.alive():
            with self._folder.changing():
                self._erase()

    def add_host(self, spec: HostSpec) -> Host:
        """Add one more host, with its daemons, to a lab that is up."""
        with self._folder.changing():
            self.specs = self._folder.read().specs
            _refuse_duplicates((*self.specs, spec))
            with self._undoing_failure(lambda: self._drop(spec.name)):
                self._delete_old_key(spec)
                self._record((*self.specs, spec))
                self._start_hosts([spec])
                if not self.ephemeral:
                    self._keep_running()
        return self.host(spec.name)

    def remove_host(self, name: str) -> None:
        """Destroy a host immediately, including its disk."""
        with self._folder.changing():
            self.specs = self._folder.read().specs
            self.host(name)
            self._drop(name)

    def reboot(self, name: str) -> Host:
        """Kill a host as a power failure does, and start it with what is on its disk."""
        host = self.host(name)
        with self._folder.changing():
            host.kill_host()
            network.unplug(self._switch, host)
            self._start_first_processes({name: self._arguments(name)})
            network.plug_in(self._switch, [host])
            self._start_daemons(host)
            if not self.ephemeral:
                self._keep_running()
        return host

    @property
    def master(self) -> Host:
        """The host that runs salt-master."""
        for host in self.hosts.values():
            if host.role == "master":
                return host
        raise LabError(
            "Salt needs a host with the role master. Fix: add m to the hosts, or start "
            "the lab with --no-salt"
        )

    @contextmanager
    def _undoing_failure(self, undo: Callable[[], None]) -> Iterator[None]:
        """Undo the block if it does not complete, for any reason."""
        try:
            yield
        except BaseException:
            undo()
            raise

    def _check(self) -> None:
        """Report what is missing before anything is started."""
        _refuse_duplicates(self.specs)
        if os.geteuid() != 0:
            raise LabError("A lab needs root. Fix: run the same command with sudo")
        needed = dict(NEEDED)
        if any(spec.firewalld for spec in self.specs):
            needed.update(NEEDED_BY_FIREWALLD)
        path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
        missing = [name for name in needed if not shutil.which(name, path=path)]
        if missing:
            packages = " ".join(sorted({needed[name] for name in missing}))
            raise LabError(f"The lab needs {', '.join(missing)}. Fix: apt-get install {packages}")
        if self.with_salt:
            daemons.salt_program("salt-minion")
            _ = self.master

    def _clear(self) -> None:
        """Remove what an unfinished lab of this name left behind."""
        try:
            # The hosts of a starter that was just killed are still ending.
            wait_until(lambda: not self._folder.alive(), "It did not end", timeout=1)
        except LabError:
            raise LabError(
                f"Lab {self.name} is up already. Fix: "
                f".venv/bin/python -m lab --name {self.name} down"
            ) from None
        lab_folder.remove_tree(self._folder.path / "hosts")

    def _start_switch(self) -> None:
        self._folder.switch_lock.touch(mode=0o600)
        self._start_first_processes({"switch": [str(self._folder.switch_lock), "switch"]})
        network.make_switch(self._switch)

    @property
    def _switch(self) -> int:
        pid = lock.holder(self._folder.switch_lock)
        if pid is None:
            raise LabError(f"The switch of lab {self.name} is down. Fix: take the lab down and up")
        return pid

    def _start_hosts(self, specs: Sequence[HostSpec]) -> None:
        """Start new hosts in a lab whose switch runs."""
        began = time.monotonic()
        for spec in specs:
            furnish(self._folder.make_host(spec.name), spec, self.specs)
        self._start_first_processes({spec.name: self._arguments(spec.name) for spec in specs})
        hosts = [self.host(spec.name) for spec in specs]
        network.plug_in(self._switch, hosts)
        self._report(f"{_count(hosts, 'host')} and their network", began)
        together(self._start_daemons, hosts)
        self._report("D-Bus and firewalld", began)
        minions = [host for host in hosts if host.spec.runs_minion]
        if self.with_salt and minions:
            daemons.wait_for_minions(self.master, minions, timeout=120)
            self._report(f"Salt: {_count(minions, 'minion')} connected", began)

    def _arguments(self, name: str) -> list[str]:
        """The arguments of a host's init."""
        lock_file, folder = self._folder.host_lock(name), self._folder.host(name)
        return [str(lock_file), name, str(folder), str(daemons.CHECKOUT)]

    def _start_first_processes(self, first: dict[str, list[str]]) -> None:
        """Start the first processes of hosts, all at once, and wait until they are ready."""
        # Isolated and without site packages, Python starts in a tenth of the time.
        command = [sys.executable, "-I", "-S", init.__file__]
        started = {}
        for name, arguments in first.items():
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # ^C at the terminal must reach only the lab, which then ends its hosts.
                start_new_session=True,
            )
            assert process.stdin and process.stdout
            self._lifelines.append(process.stdin)
            started[name] = process
        for name, process in started.items():
            with process.stdout as answers:  # type: ignore[union-attr]
                answer = answers.readline()
            process.wait()
            if answer != init.READY:
                raise LabError(_cannot_start(name, answer.decode().strip()))

    def _start_daemons(self, host: Host) -> None:
        """Start the daemons of one host, in the order of a boot."""
        host.start_dbus()
        if host.spec.firewalld:
            if host.role == "master":
                daemons.open_salt_ports(host)
            host.start_firewalld()
        if self.with_salt and host.role == "master":
            daemons.start_master(host)
        if self.with_salt and host.spec.runs_minion:
            daemons.start_minion(host, self.master.ipv4)

    def _delete_old_key(self, spec: HostSpec) -> None:
        """Delete the key that the master knows for an earlier host of this name."""
        if not (self.with_salt and spec.runs_minion):
            return
        if self.master.path(f"/etc/salt/pki/master/minions/{spec.name}").exists():
            salt_key = daemons.salt_program("salt-key")
            self.master.run([salt_key, "--yes", "--delete", spec.name])

    def _record(self, specs: tuple[HostSpec, ...]) -> None:
        """Record the hosts of the lab, also in the hosts file of each."""
        self.specs = specs
        self._folder.write(lab_folder.Record(specs, self.with_salt))
        for host in self.hosts.values():
            if host.alive:
                host.path("/etc/hosts").write_text(hosts_file(specs))

    def _drop(self, name: str) -> None:
        kill_hosts.kill(lambda: kill_hosts.first_processes(self._folder.host(name)))
        lab_folder.remove_tree(self._folder.host(name))
        self._record(tuple(spec for spec in self.specs if spec.name != name))

    def _erase(self) -> None:
        self._drop_lifelines()
        kill_hosts.kill(self._folder.alive)
        self._folder.remove()

    def _keep_running(self) -> None:
        """Keep the hosts running after this process ends."""
        for lifeline in self._lifelines:
            lifeline.write(init.KEEP)
            lifeline.flush()
        self._drop_lifelines()

    def _drop_lifelines(self) -> None:
        for lifeline in self._lifelines:
            lifeline.close()
        self._lifelines.clear()

    def _report(self, what: str, began: float) -> None:
        self._say(f"{what:<40}{time.monotonic() - began:5.1f} s")


def together(act: Callable[[Host], None], hosts: Sequence[Host]) -> None:
    """Do the same on every host in parallel; the first failure ends the wait."""
    pool = ThreadPoolExecutor(max_workers=len(hosts))
    try:
        futures = [pool.submit(act, host) for host in hosts]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
    finally:
        # Not waited for: the caller removes their hosts, which ends them.
        pool.shutdown(wait=False, cancel_futures=True)


def _refuse_duplicates(specs: Sequence[HostSpec]) -> None:
    for values in ([s.name for s in specs], [s.ipv4 for s in specs]):
        twice = [value for value in set(values) if values.count(value) > 1]
        if twice:
            raise LabError(f"Two hosts of the lab would have the name or address {twice[0]}.")


def _cannot_start(name: str, reason: str) -> str:
    fix = "run as root, on a kernel with namespaces"
    if "overlay" in reason:
        fix = (
            "modprobe overlay, and set K3SFW_LAB_DIR to a folder on a file system that overlayfs "
            "accepts as the upper layer, such as tmpfs"
        )
    return f"Host {name} cannot be started ({reason or 'no answer'}). Fix: {fix}"


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
