"""What an operator can rely on when starting, using, breaking and ending a whole lab."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from lab import daemons, lab_folder
from lab.cluster import Lab
from lab.spec import DEFAULT_HOSTS, HostSpec
from lab.wait import wait_until
from tests.selection import exhaustive

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

FULL = f"test-full{os.getpid()}"
SECOND = f"test-second{os.getpid()}"
KILLED = f"test-killed{os.getpid()}"
Spaces = Mapping[str, IO[Any]]
# Each further minion costs seconds and proves nothing more.
HOSTS = {"m", "s1", "s2", "a1", "out"}
MINIONS = {spec.name for spec in DEFAULT_HOSTS if spec.runs_minion and spec.name in HOSTS}


def machine() -> dict[str, str]:
    """Show what a lab must never touch on the machine that carries it."""
    commands = (
        ("ip", "-o", "link"),
        ("ip", "-o", "addr"),
        ("ip", "route"),
        ("nft", "--stateless", "list", "ruleset"),
        ("findmnt", "--list", "--noheadings", "--output=TARGET,SOURCE"),
    )
    return {
        " ".join(command): subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout
        for command in commands
    }


def spaces(lab: Lab) -> Spaces:
    """Name the pid namespaces of a lab's hosts."""
    return spaces_of(host.pid for host in lab.hosts.values())


def spaces_of(pids: Iterable[int]) -> dict[str, IO[Any]]:
    """Name the pid namespaces of processes; while they are open their names are not reused."""
    return {os.readlink(path): open(path) for pid in pids for path in _living(pid)}


def _living(pid: int) -> list[str]:
    """The path of its pid namespace, unless it has ended since it was listed."""
    path = f"/proc/{pid}/ns/pid"
    return [path] if os.path.lexists(path) else []


def inhabitants(namespaces: Spaces) -> list[str]:
    """Find all living processes of these namespaces."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            living = ") Z " not in (entry / "stat").read_text()
            if os.readlink(entry / "ns/pid") in namespaces and living:
                found.append((entry / "comm").read_text().strip())
        except OSError:
            continue
    return found


def command(*words: str, name: str = FULL) -> list[str]:
    return [sys.executable, "-m", "lab", "--name", name, *words]


def cli(*words: str, name: str = FULL, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words, name=name),
        cwd=daemons.CHECKOUT,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    for name in (FULL, SECOND, KILLED):
        Lab(name).down()
    return machine()


@pytest.fixture(scope="module")
def lab(before: dict[str, str]) -> Iterator[Lab]:
    result = cli("up", "--hosts", ",".join(HOSTS))
    print(result.stdout)
    assert result.returncode == 0, result.stderr
    yield Lab.attach(FULL)
    cli("down")


def ping(lab: Lab, target: str) -> dict[str, bool]:
    result = lab.salt("--static", "--out=json", "--timeout=20", target, "test.ping")
    answers: dict[str, bool] = json.loads(result.stdout)
    return answers


def test_every_minion_answers_its_master(lab: Lab) -> None:
    assert ping(lab, "*") == dict.fromkeys(MINIONS, True)


def test_the_machine_sees_nothing_of_a_running_lab(lab: Lab, before: dict[str, str]) -> None:
    assert lab.hosts
    assert machine() == before


def test_the_table_of_hosts_lists_what_runs_where(lab: Lab) -> None:
    # A long row goes on below, behind spaces.
    rows = {row.split()[0]: row for row in re.split(r"\n(?! )", cli("hosts").stdout) if row}
    assert set(lab.hosts) < set(rows)
    assert "192.0.2.10 " in rows["m"] and "salt-master" in rows["m"]
    assert "server" in rows["s1"] and "firewalld" in rows["s1"]
    assert "firewalld" not in rows["out"] and "salt" not in rows["out"]


def test_exec_passes_input_output_and_exit_code(lab: Lab) -> None:
    assert lab.host("a1").alive
    result = cli("exec", "a1", "--", "sh", "-c", "cat; hostname; exit 7", text="in\n")
    assert (result.stdout, result.returncode) == ("in\na1\n", 7)
    assert cli("exec", "nowhere", "true").stderr.startswith(f"Lab {FULL} has no host")


def test_salt_commands_take_options_of_their_own(lab: Lab) -> None:
    assert lab.host("s1").alive
    pinged = cli("salt", "-L", "s1,s2", "--out=txt", "test.ping")
    assert sorted(pinged.stdout.splitlines()) == ["s1: True", "s2: True"]
    called = cli("salt-call", "s1", "--local", "--out=txt", "grains.get", "id")
    assert called.stdout == "local: s1\n"


def test_files_of_a_test_are_served_before_those_of_the_checkout(lab: Lab) -> None:
    module = lab.srv / "salt/_modules/lab_probe.py"
    module.parent.mkdir()
    module.write_text("def where():\n    return __file__\n")
    (lab.srv / "pillar/top.sls").write_text("base: {'s1': [lab_probe]}\n")
    (lab.srv / "pillar/lab_probe.sls").write_text("lab_probe: seen\n")
    assert "lab_probe" in lab.salt("s1", "saltutil.sync_modules").stdout
    where = lab.salt("s1", "lab_probe.where", "--out=txt").stdout
    assert where.startswith("s1: /var/cache/salt/minion/extmods/modules/lab_probe.py")
    # From the pillar itself, because Salt masks the values that pillar.get shows.
    shown = lab.salt("s1", "pillar.ls", "--out=txt").stdout
    assert "lab_probe" in shown
    (lab.srv / "pillar/top.sls").unlink()


def test_a_host_joins_leaves_and_comes_back_newly_installed(lab: Lab) -> None:
    joining = HostSpec("a3", "agent", 23)
    for _ in range(2):
        lab.add_host(joining)
        assert ping(lab, "a3") == {"a3": True}
        assert "a3" in Lab.attach(FULL).hosts
        lab.remove_host("a3")
    assert "a3" not in Lab.attach(FULL).hosts
    assert lab.host("s1").run(["getent", "hosts", "a3"], check=False).returncode


def test_two_labs_run_side_by_side_and_share_nothing(lab: Lab) -> None:
    result = cli("up", "--no-salt", "--hosts", "s1,out", name=SECOND)
    assert result.returncode == 0, result.stderr
    second = Lab.attach(SECOND)
    second.host("s1").run(["firewall-cmd", "--add-port=4242/tcp"])
    assert second.host("s1").run(["firewall-cmd", "--list-ports"]).stdout.strip()
    assert not lab.host("s1").run(["firewall-cmd", "--list-ports"]).stdout.strip()
    assert spaces(second).keys().isdisjoint(spaces(lab))
    assert cli("down", name=SECOND).returncode == 0
    assert not lab_folder.folder_of(SECOND).path.exists()
    assert ping(lab, "s1") == {"s1": True}


@pytest.mark.parametrize("seconds", [exhaustive(0.1), 0.4, exhaustive(3.0)])
def test_after_a_killed_up_down_leaves_nothing(seconds: float, before: dict[str, str]) -> None:
    raising = subprocess.Popen(command("up", name=KILLED), cwd=daemons.CHECKOUT)
    try:
        time.sleep(seconds)
        namespaces = spaces_of(lab_folder.folder_of(KILLED).alive())
        namespaces.pop(os.readlink("/proc/self/ns/pid"), None)
    finally:
        raising.kill()
        raising.wait()
    assert cli("down", name=KILLED).returncode == 0
    assert not lab_folder.folder_of(KILLED).path.exists()
    assert not lab_folder.folder_of(KILLED).alive()
    # With the process that raised them, the hosts end by themselves: a first process that is about
    # to end has no command line any more, by which down would find it and wait for it.
    wait_until(lambda: not inhabitants(namespaces), "Something is left", timeout=30)
    assert machine() == before


def test_a_lab_with_dead_hosts_goes_down_like_any_other() -> None:
    assert cli("up", "--no-salt", "--hosts", "s1,s2", name=KILLED).returncode == 0
    broken = Lab.attach(KILLED)
    namespaces = spaces(broken)
    os.kill(broken.host("s1").pid, signal.SIGKILL)
    os.kill(broken.host("s2").pid, signal.SIGSTOP)
    assert cli("down", name=KILLED).returncode == 0
    assert inhabitants(namespaces) == []


def test_down_ends_everything_and_can_be_repeated(lab: Lab, before: dict[str, str]) -> None:
    namespaces = spaces(lab)
    assert len(inhabitants(namespaces)) > len(lab.hosts)
    for _ in range(2):
        assert cli("down").stdout == f"Lab {FULL} is down; nothing of it is left.\n"
    assert inhabitants(namespaces) == []
    assert not lab_folder.folder_of(FULL).path.exists()
    assert machine() == before
    assert "not up" in cli("hosts").stderr
