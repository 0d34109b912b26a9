"""A lab as a whole: raising it, changing it while it stands, taking it down.

Everything a lab is made of ends with its hosts' first processes, and those end with
the process that raises the lab until it is complete. So there is no step at which a
crash could leave something running; at worst an idle folder stays, and the next ``up``
or ``down`` of that name removes it.
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
    with this process; without it they stand until somebody calls ``down``.
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
        """Describe a lab; nothing happens yet. ``say`` gets the progress of ``up``."""
        self.name = name
        self.specs = specs
        self.with_salt = salt
        self.ephemeral = ephemeral
        self._folder = lab_folder.folder_of(name)
        self._say = say
        self._lifelines: list[IO[bytes]] = []

    @classmethod
    def attach(cls, name: str) -> Lab:
        """The lab of this name that stands already."""
        folder = lab_folder.folder_of(name)
        record = folder.read()
        if not folder.alive():
            raise LabError(lab_folder.not_up(name))
        return cls(name, record.specs, salt=record.salt)

    def __enter__(self) -> Lab:
        """Raise the lab."""
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
        """The master's /srv: its salt and pillar win over those of the checkout."""
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
        """Run ``salt`` on the master; the result says how it ended."""
        command = [daemons.salt_program("salt"), *arguments]
        return self.master.run(command, timeout=timeout, check=False)

    def up(self) -> Lab:
        """Raise the lab and wait until all of it serves; a failure leaves nothing."""
        self._check()
        with self._folder.changing():
            self._clear()
            with self._or_nothing(self._erase):
                self._folder.write(lab_folder.Record(self.specs, self.with_salt))
                self._raise_switch()
                self._raise_hosts(self.specs)
                if not self.ephemeral:
                    self._release()
        return self

    def down(self) -> None:
        """End everything of this lab and remove what it wrote; harmless if none is."""
        self._drop_lifelines()
        if self._folder.path.exists() or self._folder.alive():
            with self._folder.changing():
                self._erase()

    def add_host(self, spec: HostSpec) -> Host:
        """Let one more host join a lab that stands, complete with its daemons."""
        with self._folder.changing():
            self.specs = self._folder.read().specs
            _no_doubles((*self.specs, spec))
            with self._or_nothing(lambda: self._drop(spec.name)):
                self._forget_key(spec)
                self._note((*self.specs, spec))
                self._raise_hosts([spec])
                if not self.ephemeral:
                    self._release()
        return self.host(spec.name)

    def remove_host(self, name: str) -> None:
        """Let one host vanish at once, like a power failure; its disk is gone too."""
        with self._folder.changing():
            self.specs = self._folder.read().specs
            self.host(name)
            self._drop(name)

    @property
    def master(self) -> Host:
        """The host that runs salt-master."""
        for host in self.hosts.values():
            if host.role == "master":
                return host
        raise LabError(
            "Salt needs a host with the role master: add m to the hosts, or raise "
            "the lab without Salt (--no-salt)."
        )

    @contextmanager
    def _or_nothing(self, undo: Callable[[], None]) -> Iterator[None]:
        """Undo the block if it does not come to its end, for whatever reason."""
        try:
            yield
        except BaseException:
            undo()
            raise

    def _check(self) -> None:
        """Say what is missing before anything is begun."""
        _no_doubles(self.specs)
        if os.geteuid() != 0:
            raise LabError("A lab needs root: run the same command with sudo.")
        needed = dict(NEEDED)
        if any(spec.firewalld for spec in self.specs):
            needed.update(NEEDED_BY_FIREWALLD)
        path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
        missing = [name for name in needed if not shutil.which(name, path=path)]
        if missing:
            packages = " ".join(sorted({needed[name] for name in missing}))
            raise LabError(f"The lab needs {', '.join(missing)}: apt-get install {packages}")
        if self.with_salt:
            daemons.salt_program("salt-minion")
            _ = self.master

    def _clear(self) -> None:
        """Remove what a lab of this name left that did not come to its end."""
        try:
            # One whose process was killed this instant is still about to die.
            wait_until(lambda: not self._folder.alive(), "No end", timeout=1)
        except LabError:
            raise LabError(
                f"Lab {self.name} is up already: take it down first with "
                f"python -m lab --name {self.name} down."
            ) from None
        lab_folder.remove_tree(self._folder.path / "hosts")

    def _raise_switch(self) -> None:
        self._folder.switch_lock.touch(mode=0o600)
        self._begin({"switch": [str(self._folder.switch_lock), "switch"]})
        network.make_switch(self._switch)

    @property
    def _switch(self) -> int:
        pid = lock.holder(self._folder.switch_lock)
        if pid is None:
            raise LabError(f"The switch of lab {self.name} is down: raise it again.")
        return pid

    def _raise_hosts(self, specs: Sequence[HostSpec]) -> None:
        """Bring up new hosts of a lab whose switch stands."""
        began = time.monotonic()
        for spec in specs:
            furnish(self._folder.make_host(spec.name), spec, self.specs)
        self._begin({spec.name: self._arguments(spec.name) for spec in specs})
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
        """What init is told about a host."""
        lock_file, folder = self._folder.host_lock(name), self._folder.host(name)
        return [str(lock_file), name, str(folder), str(daemons.CHECKOUT)]

    def _begin(self, first: dict[str, list[str]]) -> None:
        """Start the first processes of hosts, all at once, and wait until they are."""
        # Isolated and without site packages: it starts in a tenth of the time.
        command = [sys.executable, "-I", "-S", init.__file__]
        started = {}
        for name, arguments in first.items():
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # A ^C at the terminal is for the lab, which then ends its hosts.
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
                raise LabError(_no_host(name, answer.decode().strip()))

    def _start_daemons(self, host: Host) -> None:
        """Start on one host what belongs there, in the order of a boot."""
        host.start_dbus()
        if host.spec.firewalld:
            if host.role == "master":
                daemons.open_salt_ports(host)
            host.start_firewalld()
        if self.with_salt and host.role == "master":
            daemons.start_master(host)
        if self.with_salt and host.spec.runs_minion:
            daemons.start_minion(host, self.master.ipv4)

    def _forget_key(self, spec: HostSpec) -> None:
        """Let a new host take the name of one that left: the master knows its key."""
        if not (self.with_salt and spec.runs_minion):
            return
        if self.master.path(f"/etc/salt/pki/master/minions/{spec.name}").exists():
            salt_key = daemons.salt_program("salt-key")
            self.master.run([salt_key, "--yes", "--delete", spec.name])

    def _note(self, specs: tuple[HostSpec, ...]) -> None:
        """Write down who belongs to the lab, and let the standing hosts know."""
        self.specs = specs
        self._folder.write(lab_folder.Record(specs, self.with_salt))
        for host in self.hosts.values():
            if host.alive:
                host.path("/etc/hosts").write_text(hosts_file(specs))

    def _drop(self, name: str) -> None:
        kill_hosts.kill(lambda: kill_hosts.first_processes(self._folder.host(name)))
        lab_folder.remove_tree(self._folder.host(name))
        self._note(tuple(spec for spec in self.specs if spec.name != name))

    def _erase(self) -> None:
        self._drop_lifelines()
        kill_hosts.kill(self._folder.alive)
        self._folder.remove()

    def _release(self) -> None:
        """Let the hosts live on without this process."""
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
    """Do the same on every host at once; the first failure ends the wait."""
    pool = ThreadPoolExecutor(max_workers=len(hosts))
    try:
        futures = [pool.submit(act, host) for host in hosts]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
    finally:
        # Not waited for: with their hosts gone, the others end on their own.
        pool.shutdown(wait=False, cancel_futures=True)


def _no_doubles(specs: Sequence[HostSpec]) -> None:
    for values in ([s.name for s in specs], [s.ipv4 for s in specs]):
        twice = [value for value in set(values) if values.count(value) > 1]
        if twice:
            raise LabError(f"Two hosts of the lab would be {twice[0]}.")


def _no_host(name: str, reason: str) -> str:
    mend = "it needs root and a kernel with namespaces"
    if "overlay" in reason:
        mend = (
            "it needs overlayfs (modprobe overlay), and in K3SFW_LAB_DIR a folder on "
            "a file system that can lie over others, such as tmpfs"
        )
    return f"Host {name} cannot be made ({reason or 'no answer'}): {mend}."


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
