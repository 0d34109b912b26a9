"""Start the daemons of a host: D-Bus, firewalld and Salt, configured as an operator would.

Each function returns when the daemon is ready. Nothing here knows the rules that k3sfw writes.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import CommandFailed, LabError
from lab.wait import wait_until

if TYPE_CHECKING:
    from lab.host import Host

CHECKOUT = Path(__file__).resolve().parent.parent
SALT_PORTS = "4505-4506/tcp"

_FIREWALLD_LOG = "/var/log/firewalld.out"
_FIREWALLD_OWNER = (
    "dbus-send",
    "--system",
    "--print-reply=literal",
    "--reply-timeout=5000",
    "--dest=org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus.NameHasOwner",
    "string:org.fedoraproject.FirewallD1",
)
_FIREWALLD_STATE = (
    "dbus-send",
    "--system",
    "--print-reply=literal",
    "--reply-timeout=5000",
    "--dest=org.fedoraproject.FirewallD1",
    "/org/fedoraproject/FirewallD1",
    "org.freedesktop.DBus.Properties.Get",
    "string:org.fedoraproject.FirewallD1",
    "string:state",
)


def start_dbus(host: Host) -> None:
    """Start the system bus with the machine's own policy files."""
    host.spawn(["dbus-daemon", "--system", "--nofork", "--nopidfile"], "/var/log/dbus.out")
    socket = host.path("/run/dbus/system_bus_socket")
    wait_until(socket.exists, f"No D-Bus on {host.name}", timeout=10, every=0.02)


def start_firewalld(host: Host, state: str = "RUNNING") -> None:
    """Start firewalld unless it runs, and wait until it reports this state."""
    if not running(host, "firewalld"):
        host.spawn(["firewalld", "--nofork", "--nopid"], _FIREWALLD_LOG)

    def arrived() -> bool:
        now = firewalld_state(host)
        if now == state:
            return True
        if now in ("RUNNING", "FAILED"):
            raise LabError(
                f"firewalld on {host.name} is {now}, not {state}. Fix: see /var/log/firewalld there"
            )
        if not running(host, "firewalld"):
            raise LabError(f"firewalld ended on {host.name}: {_tail(host)}")
        return False

    missing = f"firewalld on {host.name} is not {state}"
    wait_until(arrived, missing, timeout=60, every=0.2)


def firewalld_state(host: Host) -> str:
    """The state that firewalld reports; empty if it does not answer."""
    answer = host.run(_FIREWALLD_STATE, check=False, timeout=10)
    words = answer.stdout.split()
    return words[-1] if answer.returncode == 0 and words else ""


def firewalld_is_on_bus(host: Host) -> bool:
    """Whether firewalld's name has an owner: the bus notices an end a little later."""
    return host.run(_FIREWALLD_OWNER, check=False, timeout=10).stdout.split()[-1:] == ["true"]


def open_salt_ports(host: Host) -> None:
    """Open Salt's ports on the master, as its operator would, before firewalld runs."""
    try:
        host.run(["firewall-offline-cmd", "--zone=public", f"--add-port={SALT_PORTS}"])
    except CommandFailed as error:
        raise LabError(f"Salt's ports cannot be opened on {host.name}: {error}") from None


def running(host: Host, name: str) -> bool:
    """Whether a process of this name runs on the host."""
    return any(process.name == name for process in host.processes())


def stop(host: Host, name: str, patience: float = 10) -> None:
    """End a daemon as a service manager does: SIGTERM first, SIGKILL after the timeout."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        if not running(host, name):
            return
        host.kill(name, sig)
        try:
            wait_until(
                lambda: not running(host, name),
                f"{name} on {host.name} did not end",
                # The kernel takes its time as well, on a busy machine.
                timeout=patience if sig == signal.SIGTERM else max(patience, 10),
            )
        except LabError:
            if sig == signal.SIGKILL:
                raise


def master_config(
    file_roots: Sequence[str] = ("/srv/salt", f"{CHECKOUT}/salt"),
    pillar_roots: Sequence[str] = ("/srv/pillar", f"{CHECKOUT}/pillar"),
) -> dict[str, object]:
    """The master's configuration; files of a test in /srv come before the checkout."""
    return {
        "user": "root",
        "interface": "0.0.0.0",
        "auto_accept": True,
        "worker_threads": 3,
        # The seconds that salt waits for minions. All of them share the machine's few cores.
        "timeout": 60,
        "gather_job_timeout": 60,
        "file_roots": {"base": list(file_roots)},
        "pillar_roots": {"base": list(pillar_roots)},
        "log_level_logfile": "warning",
    }


def minion_config(name: str, master: str) -> dict[str, object]:
    """The minion's configuration: its id and its master."""
    return {
        "user": "root",
        "id": name,
        "master": master,
        "log_level_logfile": "warning",
    }


def start_master(
    host: Host, config: dict[str, object] | None = None, *, programs: Path | None = None
) -> None:
    """Start salt-master; it is ready a few seconds later."""
    _configure(host, "/etc/salt/master", config or master_config())
    host.spawn([salt_program("salt-master", programs)], "/var/log/salt/master.out")


def start_minion(
    host: Host,
    master: str,
    config: dict[str, object] | None = None,
    *,
    programs: Path | None = None,
) -> None:
    """Start salt-minion; it keeps trying until its master is ready."""
    _configure(host, "/etc/salt/minion", config or minion_config(host.name, master))
    host.spawn([salt_program("salt-minion", programs)], "/var/log/salt/minion.out")


def wait_for_minions(
    master: Host, minions: Sequence[Host], timeout: float, *, programs: Path | None = None
) -> None:
    """Wait until all of these minions answer their master."""
    names = sorted(minion.name for minion in minions)
    for minion in minions:
        known = minion.path("/etc/salt/pki/minion/minion_master.pub")
        wait_until(
            known.exists,
            f"Minion {minion.name} did not find its master (see /var/log/salt there)",
            timeout=timeout,
        )

    def answer() -> bool:
        # For a minion that is not connected yet salt itself would wait for two minutes.
        command = ["timeout", "25", salt_program("salt", programs), "--static", "--out=json"]
        result = master.run([*command, "-L", ",".join(names), "test.ping"], check=False)
        try:
            return set(names) == {n for n, v in json.loads(result.stdout).items() if v}
        except ValueError:
            return False

    wait_until(answer, f"Not all of {', '.join(names)} answer", timeout=timeout)


def salt_program(name: str, programs: Path | None = None) -> str:
    """The path of a Salt program; first choice is the environment that runs the lab.

    programs
        The folder of another Salt's programs, which is then the only choice.
    """
    beside = (programs or Path(sys.executable).parent) / name
    found = str(beside) if beside.exists() or programs else shutil.which(name)
    if found is None:
        raise LabError(
            f"There is no {name} beside {sys.executable}. Fix: install Salt there with "
            "pip install salt, or start the lab with --no-salt"
        )
    return found


def _configure(host: Host, path: str, config: dict[str, object]) -> None:
    # JSON is valid YAML, and needs no package.
    host.path(path).write_text(json.dumps(config, indent=2) + "\n")


def _tail(host: Host) -> str:
    lines = host.path(_FIREWALLD_LOG).read_text(errors="replace").strip().splitlines()
    return " ".join(lines[-3:]) or "without output"
