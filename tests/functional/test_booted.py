"""What a test can rely on when it uses a host booted by systemd."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab.booted import cgroup, root, syscalls
from lab.booted.booted_host import BootedHost
from lab.booted.keeper import CHECKOUT
from lab.errors import LabError
from lab.wait import wait_until
from tests.selection import exhaustive

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

# Where a boot would create and remove files if they were the machine's.
MACHINES = ("/dev/shm", "/run", "/tmp", "/var/tmp")
CANARY = f"k3sfw-canary-{os.getpid()}"
UNITS = "/etc/systemd/system"


@pytest.fixture(autouse=True, scope="module")
def canaries() -> Iterator[list[Path]]:
    """Files of the machine that must be there and unchanged after all of these tests."""
    files = [Path(folder) / CANARY for folder in MACHINES]
    for file in files:
        file.write_text("alive")
    yield files
    try:
        assert [file.read_text() for file in files] == ["alive"] * len(files)
    finally:
        for file in files:
            file.unlink(missing_ok=True)


@pytest.fixture
def off() -> Iterator[BootedHost]:
    with BootedHost() as host:
        yield host


@pytest.fixture
def host(off: BootedHost) -> BootedHost:
    off.boot()
    return off


def shown(host: BootedHost, unit: str, name: str) -> str:
    return host.run(["systemctl", "show", "--value", f"--property={name}", unit]).stdout.strip()


def write_unit(host: BootedHost, name: str, text: str) -> None:
    host.path(f"{UNITS}/{name}").write_text(textwrap.dedent(text))


def handles(host: BootedHost) -> list[int]:
    """Handles of the keeper and of every process of the host; those of ended ones are readable."""
    opened = []
    for pid in [host.neighbour.pid, *(process.pid for process in host.processes())]:
        # One of them may have ended since it was listed.
        with suppress(ProcessLookupError):
            opened.append(os.pidfd_open(pid))
    return opened


def have_ended(processes: list[int], within: float) -> bool:
    end = time.monotonic() + within
    return all(select.select([p], [], [], max(0, end - time.monotonic()))[0] for p in processes)


def branches_of(keeper: int) -> list[Path]:
    return [branch for branch in cgroup.branches() if branch.name.endswith(f"-{keeper}")]


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


# The machine below


SPOIL = f"""
    for folder in {" ".join(MACHINES)} /dev /etc /root /usr /var; do
        echo made > $folder/{CANARY}-made
        echo spoilt > $folder/{CANARY}
        rm $folder/{CANARY}
    done
    touch /srv/done
    exec sleep 1000
"""


def test_nothing_of_the_machines_is_changed_by_a_first_process(canaries: list[Path]) -> None:
    with BootedHost(first=("/bin/sh", "-c", SPOIL)) as host:
        host.switch_on()
        wait_until(host.path("/srv/done").exists, "The shell is not done", timeout=10, every=0.01)
        assert host.path(f"/etc/{CANARY}-made").read_text() == "made\n"
    assert_whole(canaries)


def test_nothing_of_the_machines_is_changed_by_a_booted_host(
    host: BootedHost, canaries: list[Path]
) -> None:
    host.run(["sh", "-c", SPOIL.replace("exec sleep 1000", "")])
    assert host.path(f"/tmp/{CANARY}-made").read_text() == "made\n"
    host.reboot()
    assert_whole(canaries)
    # A boot does this elsewhere, and not here.
    host.run(["systemd-tmpfiles", "--create", "--remove", "--boot", "/usr/lib/tmpfiles.d/tmp.conf"])
    assert list(host.path("/tmp").iterdir()) == []
    assert_whole(canaries)


def assert_whole(canaries: list[Path]) -> None:
    assert [file.read_text() for file in canaries] == ["alive"] * len(canaries)
    for folder in (*MACHINES, "/dev", "/etc", "/root", "/usr", "/var"):
        assert not (Path(folder) / f"{CANARY}-made").exists()


@pytest.mark.parametrize("folder", ["/", "/dev", "/sys"])
def test_nothing_is_started_where_a_folder_is_the_machines(folder: str) -> None:
    machine = {mount.device for mount in syscalls.mounts() if mount.point == Path(folder)}
    with pytest.raises(LabError, match=f"{folder} in here is the machine's"):
        root.refuse_what_is_shared(frozenset(machine))


def test_nothing_of_the_machines_can_be_written_by_a_booted_host(host: BootedHost) -> None:
    table = host.run(["cat", "/proc/self/mountinfo"]).stdout.splitlines()
    machine = root.devices()
    writable = [line for line in table if line.split()[2] in machine and " ro" not in line]
    # One branch of the tree of cgroups, which is one device for all.
    assert [line.split()[4] for line in writable] == ["/sys/fs/cgroup"]
    assert host.run(["cat", "/proc/1/cgroup"]).stdout.splitlines()[-1] == "0::/init.scope"
    for value in ("/proc/sys/kernel/panic", "/proc/irq/default_smp_affinity", "/sys/kernel/notes"):
        assert "Read-only" in host.run(["sh", "-c", f": >> {value}"], check=False).stderr


def test_nothing_in_a_booted_host_may_set_the_clock_or_make_a_disk(host: BootedHost) -> None:
    for process in ("1", "self"):
        status = host.run(["cat", f"/proc/{process}/status"]).stdout
        bounds = dict(line.split(":\t") for line in status.splitlines())
        may = int(bounds["CapBnd"], 16)
        assert [name for name, bit in root.GIVEN_UP.items() if may >> bit & 1] == []
    tried = host.run(["mknod", "/run/disk", "b", "254", "0"], check=False)
    assert "not permitted" in tried.stderr


def test_nothing_is_left_after_the_block() -> None:
    before = links(), syscalls.mounts()
    with BootedHost() as host:
        host.boot()
        host.run(["systemd-run", "--quiet", "sleep", "1000"])
        processes, keeper = handles(host), host.neighbour.pid
        assert branches_of(keeper)
    assert have_ended(processes, within=0)
    assert not branches_of(keeper)
    assert (links(), syscalls.mounts()) == before


BOOT = """
    import time
    from lab.booted.booted_host import BootedHost
    with BootedHost() as host:
        host.boot()
        print(host.pid, host.neighbour.pid, flush=True)
        time.sleep(1000)
"""


@contextlib.contextmanager
def another_test() -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    code = [sys.executable, "-c", textwrap.dedent(BOOT)]
    with subprocess.Popen(code, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as test:
        try:
            assert test.stdout
            first, keeper = (int(pid) for pid in test.stdout.readline().split())
            yield test, first, keeper
        finally:
            test.kill()


def test_nothing_is_left_after_the_test_was_killed() -> None:
    before = links(), syscalls.mounts()
    with another_test() as (test, first, keeper):
        processes = [os.pidfd_open(first), os.pidfd_open(keeper)]
        test.kill()
        assert have_ended(processes, within=10)
    assert not branches_of(keeper)
    assert (links(), syscalls.mounts()) == before


def test_a_killed_keeper_takes_the_host_along_and_the_next_one_sweeps_after_it() -> None:
    with another_test() as (_test, first, keeper):
        processes = [os.pidfd_open(first)]
        os.kill(keeper, signal.SIGKILL)
        assert have_ended(processes, within=10)
    with BootedHost():
        assert not branches_of(keeper)


# The host


def test_firewalld_is_started_by_systemd(host: BootedHost) -> None:
    assert shown(host, "firewalld", "ActiveState") == "active"
    assert shown(host, "firewalld", "UnitFileState") == "enabled"
    assert host.run(["firewall-cmd", "--state"]).stdout == "running\n"
    assert host.run(["firewall-cmd", "--get-default-zone"]).stdout == "public\n"
    assert host.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout == ""


def test_loopback_is_up(host: BootedHost) -> None:
    assert "127.0.0.1" in host.run(["ip", "-o", "addr", "show", "dev", "lo", "up"]).stdout


def test_the_checkout_is_there_and_cannot_be_changed(host: BootedHost) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import jeepney, k3sfw_engine"
    host.run([sys.executable, "-c", code, str(CHECKOUT / "_utils")])
    for folder in (CHECKOUT, Path(sys.prefix)):
        tried = host.run(["touch", str(folder / "spoilt")], check=False)
        assert "Read-only file system" in tried.stderr


@pytest.mark.parametrize("family", ["ipv4", exhaustive("ipv6")])
def test_its_neighbour_meets_the_firewall(host: BootedHost, family: str) -> None:
    wait_for_rules(host)
    assert ask(host, family) in ("EHOSTUNREACH", "EACCES")
    host.run(["firewall-cmd", "--add-port=6443/tcp"])
    # Allowed, without a listener.
    assert ask(host, family) == "ECONNREFUSED"
    host.power_cut()
    wait_for_rules(host)
    assert ask(host, family) in ("EHOSTUNREACH", "EACCES")


def wait_for_rules(host: BootedHost) -> None:
    # systemd calls firewalld active once it is on the bus; it answers after loading everything.
    host.run(["firewall-cmd", "--state"])


def ask(host: BootedHost, family: str) -> str:
    code = """
        import errno, socket, sys
        try:
            socket.create_connection((sys.argv[1], 6443), timeout=5)
        except OSError as error:
            print(errno.errorcode[error.errno])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), getattr(host, family)]
    return host.neighbour.run(command).stdout.strip()


def test_what_is_written_before_the_first_boot_is_found_by_it(off: BootedHost) -> None:
    off.path("/etc/firewalld/zones/office.xml").write_text(
        "<zone><port port='1' protocol='tcp'/></zone>"
    )
    assert not off.on
    with pytest.raises(LabError, match="is off"):
        off.run(["true"])
    off.boot()
    assert off.run(["firewall-cmd", "--zone=office", "--list-ports"]).stdout == "1/tcp\n"


def test_a_first_process_that_cannot_be_executed_is_an_error() -> None:
    with BootedHost(first=("/usr/bin/nothing",)) as host:
        with pytest.raises(LabError, match="No such file"):
            host.switch_on()
        assert not branches_of(host.neighbour.pid)


def test_a_unit_that_fails_makes_the_host_degraded(off: BootedHost) -> None:
    write_unit(
        off,
        "broken.service",
        """
        [Service]
        Type=oneshot
        ExecStart=false
        """,
    )
    off.path(f"{UNITS}/multi-user.target.wants/broken.service").symlink_to("../broken.service")
    assert off.boot() == "degraded"


@pytest.mark.parametrize("end", ["power_cut", "reboot"])
def test_what_is_on_the_disk_survives(host: BootedHost, end: str) -> None:
    first = host.run(["cat", "/proc/sys/kernel/random/boot_id", "/etc/machine-id"]).stdout
    host.run(["sh", "-c", "echo kept | tee /var/lib/kept /etc/kept /run/gone > /tmp/gone"])
    host.run(["firewall-cmd", "--permanent", "--add-port=6443/tcp"])
    host.run(["firewall-cmd", "--add-port=1/tcp"])
    assert getattr(host, end)() == "running"
    assert host.run(["cat", "/var/lib/kept", "/etc/kept"]).stdout == "kept\nkept\n"
    assert host.run(["sh", "-c", "ls /run/gone /tmp/gone"], check=False).stdout == ""
    assert host.run(["firewall-cmd", "--list-ports"]).stdout == "6443/tcp\n"
    assert first.splitlines()[1] == host.path("/etc/machine-id").read_text().strip()


def test_a_power_cut_asks_no_service_and_a_reboot_does(host: BootedHost) -> None:
    write_unit(
        host,
        "last.service",
        """
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=true
        ExecStop=touch /var/lib/stopped
        """,
    )
    host.run(["systemctl", "start", "last"])
    host.power_cut()
    assert not host.path("/var/lib/stopped").exists()
    host.run(["systemctl", "start", "last"])
    host.reboot()
    assert host.path("/var/lib/stopped").exists()


def test_a_host_that_goes_off_by_itself_is_seen_to_be_off(host: BootedHost) -> None:
    host.shut_down()
    assert not host.on
    host.path("/var/lib/written").write_text("while it was off")
    assert host.boot() == "running"
    assert host.run(["cat", "/var/lib/written"]).stdout == "while it was off"


# What only systemd does


def late(seconds: int) -> list[str]:
    """Start a timer that creates a file after this many seconds."""
    timer = [f"--on-active={seconds}", "--timer-property=AccuracySec=100ms", "--unit=late"]
    return ["systemd-run", *timer, "touch", "/var/lib/late"]


def wait_for_late(host: BootedHost) -> None:
    file = host.path("/var/lib/late")
    wait_until(file.exists, "The timer did not fire", timeout=15, every=0.02)


def test_a_transient_timer_fires(host: BootedHost) -> None:
    start = time.monotonic()
    host.run(late(2))
    wait_for_late(host)
    assert time.monotonic() - start >= 2


def test_a_transient_timer_does_not_outlive_a_power_cut(host: BootedHost) -> None:
    host.run(late(5))
    due = time.monotonic() + 5
    assert shown(host, "late.timer", "ActiveState") == "active"
    host.power_cut()
    assert shown(host, "late.timer", "LoadState") == "not-found"
    time.sleep(max(0, due + 0.5 - time.monotonic()))
    assert not host.path("/var/lib/late").exists()


EARLY = """
    [Unit]
    Before=firewalld.service
    ConditionPathExists=/var/lib/pending

    [Service]
    Type=oneshot
    ExecStart=sh -c 'echo ran >> /var/lib/ran'

    [Install]
    WantedBy=firewalld.service
"""


@pytest.mark.parametrize("end", ["power_cut", *map(exhaustive, ("reboot", "restart_firewalld"))])
def test_a_oneshot_unit_runs_before_firewalld_if_its_path_exists(
    host: BootedHost, end: str
) -> None:
    write_unit(host, "early.service", EARLY)
    host.run(["systemctl", "enable", "early.service"])
    start_firewalld_again(host, end)
    assert shown(host, "early", "ConditionResult") == "no"
    assert not host.path("/var/lib/ran").exists()

    host.path("/var/lib/pending").touch()
    start_firewalld_again(host, end)
    assert host.path("/var/lib/ran").read_text() == "ran\n"
    done = int(shown(host, "early", "ExecMainExitTimestampMonotonic"))
    assert 0 < done <= int(shown(host, "firewalld", "ExecMainStartTimestampMonotonic"))
    assert shown(host, "firewalld", "ActiveState") == "active"


def start_firewalld_again(host: BootedHost, end: str) -> None:
    if end == "restart_firewalld":
        host.run(["systemctl", "restart", "firewalld"])
    else:
        assert getattr(host, end)() == "running"


# Creates a timer and a daemon, once, when the file appears.
STARTER = """
    [Service]
    KillMode={mode}
    ExecStart=/bin/sh /var/lib/starter
"""
STARTER_SCRIPT = f"""
    [ -e /var/lib/once ] && exec sleep 1000
    touch /var/lib/once
    setsid --fork sh -c 'echo $$ > /run/child; exec sleep 1000'
    {" ".join(late(4))}
    touch /run/armed
    exec sleep 1000
"""


@pytest.mark.parametrize("mode", ["mixed", "control-group"])
def test_a_restart_spares_the_timer_a_service_made_but_not_its_daemon(
    host: BootedHost, mode: str
) -> None:
    write_unit(host, "starter.service", STARTER.format(mode=mode))
    host.path("/var/lib/starter").write_text(textwrap.dedent(STARTER_SCRIPT))
    host.run(["systemctl", "start", "starter"])
    wait_until(host.path("/run/armed").exists, "Nothing was armed", timeout=10, every=0.01)
    child = ["kill", "-0", host.path("/run/child").read_text().strip()]
    host.run(child)
    host.run(["systemctl", "restart", "starter"])
    assert "No such process" in host.run(["sh", "-c", " ".join(child)], check=False).stderr
    assert not host.path("/var/lib/late").exists()
    wait_for_late(host)
