"""What a test can rely on when it uses one host of a lab, shown on small real labs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import daemons, kill_hosts, lab_folder
from lab.cluster import Lab
from lab.errors import CommandFailed, LabError
from lab.host import Host
from lab.spec import HostSpec
from lab.wait import wait_until

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

NODE = HostSpec("s1", "server", 11)
PLAIN = HostSpec("p1", "plain", 31, firewalld=False)
OTHER = HostSpec("p2", "plain", 32, firewalld=False)

LISTEN = """
    import socket, sys
    family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    server = socket.create_server((sys.argv[1], 5000), family=family)
    print("listening", flush=True)
    server.accept()[0].sendall(b"hello")
"""
ASK = """
    import socket, sys
    print(socket.create_connection((sys.argv[1], 5000), timeout=5).recv(5).decode())
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *arguments]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    specs = (NODE, PLAIN, OTHER)
    with Lab(f"test-host{os.getpid()}", specs, salt=False, ephemeral=True) as standing:
        yield standing


@pytest.fixture(scope="module")
def node(lab: Lab) -> Host:
    return lab.host("s1")


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Host:
    return lab.host("p1")


@pytest.mark.parametrize("address", [OTHER.ipv4, OTHER.ipv6])
def test_hosts_reach_each_other_at_once(lab: Lab, address: str) -> None:
    server = lab.host("p2").popen(python(LISTEN, address), stdout=subprocess.PIPE)
    with server:
        assert server.stdout and server.stdout.readline() == "listening\n"
        assert lab.host("p1").run(python(ASK, address)).stdout == "hello\n"


def test_a_host_sees_only_its_own_network_processes_and_name(node: Host) -> None:
    links = node.run(["ip", "-o", "-4", "addr"]).stdout
    assert [line.split()[1] for line in links.splitlines()] == ["lo", "eth0"]
    assert f"{node.ipv4}/24" in links
    assert sorted(os.listdir(node.path("/sys/class/net"))) == sorted(
        node.run(["ls", "/sys/class/net"]).stdout.split()
    )
    assert node.run(["hostname"]).stdout == "s1\n"
    inside = node.run(["sh", "-c", "ls -d /proc/[0-9]*"]).stdout.split()
    assert len(inside) < 10


def test_a_new_host_has_firewalld_as_its_package_installs_it(node: Host) -> None:
    assert daemons.firewalld_state(node) == "RUNNING"
    assert node.run(["firewall-cmd", "--get-default-zone"]).stdout == "public\n"
    stock = node.path("/etc/firewalld")
    files = [path.name for path in stock.rglob("*") if path.is_file()]
    assert sorted(files) == ["firewalld.conf", "lockdown-whitelist.xml"]
    assert node.run(["firewall-cmd", "--check-config"]).stdout == "success\n"


def test_what_a_host_writes_stays_its_own(node: Host, plain: Host) -> None:
    for folder in ("/etc", "/usr/lib", "/var/lib", "/run", "/srv", "/dev/shm"):
        name = f"{folder}/k3sfw-lab-test"
        node.run(["touch", name])
        assert node.path(name).exists()
        assert not plain.path(name).exists()
        assert not Path(name).exists()


def test_a_program_can_be_taken_away_from_one_host(node: Host, plain: Host) -> None:
    plain.path("/usr/sbin/nft").unlink()
    assert plain.run(["nft", "--version"], check=False).returncode == 127
    assert node.run(["nft", "--version"]).returncode == 0


def test_a_host_cannot_write_to_the_checkout(node: Host) -> None:
    target = str(daemons.CHECKOUT / "from-a-host")
    assert "Read-only" in node.run(["touch", target], check=False).stderr
    assert not Path(target).exists()


def test_paths_are_those_inside_also_through_links(node: Host) -> None:
    node.run(["ln", "-s", "/run/aim", "/run/link"])
    node.path("/var/run/link").write_text("seen\n")
    assert node.run(["cat", "/run/aim"]).stdout == "seen\n"
    assert not Path("/run/aim").exists()


def test_a_k3s_node_has_the_files_of_its_role(node: Host, plain: Host) -> None:
    assert node.path("/var/lib/rancher/k3s/server/token").stat().st_mode & 0o77 == 0
    config = node.path("/etc/rancher/k3s/config.yaml").read_text()
    assert config == 'node-ip: "192.0.2.11,2001:db8::11"\ncluster-init: true\n'
    command = node.path("/etc/systemd/system/k3s.service").read_text()
    assert "ExecStart=/usr/local/bin/k3s \\\n    server \\\n" in command
    assert os.listdir(plain.path("/var/lib/rancher")) == []


def test_a_failing_command_shows_what_it_printed(plain: Host) -> None:
    with pytest.raises(CommandFailed, match=r"exit code 3(.|\n)*broken") as failure:
        plain.run(["sh", "-c", "echo broken >&2; exit 3"])
    assert failure.value.returncode == 3
    assert plain.run(["false"], check=False).returncode == 1
    assert plain.run(["cat"], input="fed").stdout == "fed"


def test_commands_find_system_programs_and_no_bus_of_the_caller(
    plain: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    seen = dict(
        line.split("=", 1) for line in plain.run(["env"]).stdout.splitlines() if "=" in line
    )
    assert "/usr/sbin" in seen["PATH"].split(":")
    assert not {"DBUS_SESSION_BUS_ADDRESS", "PYTHONPATH"} & set(seen)


def test_a_command_that_takes_too_long_ends_with_all_it_started(plain: Host) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        plain.run(["sh", "-c", "sleep 987 & sleep 987"], timeout=0.3)
    gone(plain, "sleep")


def test_a_signal_reaches_the_process_inside(plain: Host) -> None:
    script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    with plain.popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(5) == 5
        assert process.stdout.read() == "bye\n"


def test_nothing_stays_inside_when_the_entering_process_is_killed(plain: Host) -> None:
    process = subprocess.Popen([*plain.prefix, "sleep", "986"])
    comes(plain, "sleep")
    process.kill()
    process.wait()
    gone(plain, "sleep")


def test_orphans_are_reaped(plain: Host) -> None:
    plain.run(["sh", "-c", "(sleep 0.1 &) &"])
    time.sleep(0.3)
    assert [process.name for process in plain.processes()][1:] == ["dbus-daemon"]


def test_firewalld_stops_starts_and_survives_being_killed(node: Host) -> None:
    node.stop_firewalld()
    assert not daemons.running(node, "firewalld")
    assert daemons.firewalld_state(node) == ""
    node.start_firewalld()
    node.kill("firewalld", signal.SIGKILL)
    gone(node, "firewalld")
    node.start_firewalld()
    node.restart_firewalld()
    assert daemons.firewalld_state(node) == "RUNNING"


def test_a_frozen_firewalld_can_be_stopped(node: Host) -> None:
    node.kill("firewalld", signal.SIGSTOP)
    daemons.stop(node, "firewalld", patience=0.3)
    node.start_firewalld()


def test_a_firewalld_that_cannot_start_says_why(node: Host) -> None:
    node.stop_firewalld()
    program = node.path("/usr/sbin/firewalld")
    whole = program.read_text()
    program.write_text("#!/bin/sh\necho no luck today\n")
    with pytest.raises(LabError, match="firewalld ended on s1: no luck today"):
        node.start_firewalld()
    program.write_text(whole)
    node.start_firewalld()


def test_a_firewalld_in_trouble_is_waited_for_by_name(node: Host) -> None:
    zone = node.path("/etc/firewalld/zones/public.xml")
    zone.write_text(
        "<zone><rule><source ipset='nowhere'/><accept/></rule></zone>",
    )
    with pytest.raises(LabError, match="is FAILED, not RUNNING"):
        node.restart_firewalld()
    node.restart_firewalld(state="FAILED")
    zone.unlink()
    node.restart_firewalld()


def test_a_host_ends_though_a_command_on_it_was_stopped(lab: Lab) -> None:
    host = lab.host("p2")
    with host.popen(["sleep", "985"]) as entering:
        comes(host, "sleep")
        host.kill("sleep", signal.SIGSTOP)
        # nsenter stops with its child, and would never reap it.
        wait_until(lambda: "T (stopped)" in _status_of(entering.pid), "nsenter runs", timeout=5)
        try:
            host.kill_host()
        finally:
            if entering.poll() is None:
                os.kill(entering.pid, signal.SIGCONT)
    lab.remove_host("p2")
    lab.add_host(OTHER)


def _status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def test_a_dead_host_is_named_and_can_be_replaced(lab: Lab) -> None:
    lab.host("p2").kill_host()
    with pytest.raises(LabError, match="Host p2 is down"):
        lab.host("p2").run(["true"])
    lab.remove_host("p2")
    with pytest.raises(LabError, match="no host p2"):
        lab.host("p2")
    joined = lab.add_host(OTHER)
    assert joined.run(["hostname"]).stdout == "p2\n"
    assert lab.host("p1").run(["getent", "hosts", "p2"]).stdout


def test_a_lab_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script, name = tmp_path / "raise.py", f"test-orphan{os.getpid()}"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from lab.cluster import Lab
        from lab.spec import HostSpec
        specs = (HostSpec("p1", "plain", 1, firewalld=False),)
        with Lab(sys.argv[1], specs, salt=False, ephemeral=True) as lab:
            lab.host("p1").spawn(["sleep", "985"], "/var/log/sleep")
            print("up", flush=True)
            time.sleep(60)
        """)
    )
    holder = subprocess.Popen(
        [sys.executable, script, name],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(daemons.CHECKOUT)},
    )
    with holder:
        assert holder.stdout and holder.stdout.readline() == "up\n"
        folder = lab_folder.folder_of(name)
        first = kill_hosts.first_processes(folder.path)
        assert len(first) == 2
        holder.kill()
    wait_for(lambda: not any(lives(pid) for pid in first))
    Lab(name).down()
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("geteuid", "needs root.*sudo"), ("which", "apt-get install .*iproute2")],
)
def test_what_is_missing_is_named_with_its_fix(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "geteuid":
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    else:
        monkeypatch.setattr(shutil, "which", lambda program, path: None)
    with pytest.raises(LabError, match=says):
        Lab(f"test-missing{os.getpid()}", (PLAIN,), salt=False).up()
    assert not lab_folder.folder_of(f"test-missing{os.getpid()}").path.exists()


def test_a_lab_that_is_up_is_not_started_again(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"is up already.*down"):
        Lab(f"test-host{os.getpid()}", (PLAIN,), salt=False).up()
    assert lab.host("s1").alive


@pytest.mark.parametrize("specs", [(NODE, NODE), (NODE, HostSpec("s9", "server", NODE.number))])
def test_two_hosts_never_share_a_name_or_an_address(
    specs: tuple[HostSpec, ...],
) -> None:
    with pytest.raises(LabError, match="Two hosts"):
        Lab(f"test-double{os.getpid()}", specs, salt=False).up()


def lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def comes(host: Host, name: str) -> None:
    wait_for(lambda: daemons.running(host, name))


def gone(host: Host, name: str) -> None:
    wait_for(lambda: not daemons.running(host, name))


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)
