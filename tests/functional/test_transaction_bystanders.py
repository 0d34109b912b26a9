"""Whatever dies, freezes or fills up around an apply, the node ends in the old or new state."""

import contextlib
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.wait import wait_until
from tests.functional.hosts import standing
from tests.functional.transactions import TransactionNode, steps_of
from tests.selection import exhaustive, half_of

OPEN = 6379
LISTEN = f"import socket; s = socket.create_server(('', {OPEN}))\nwhile True: s.accept()"
# Any answer will do, except silence.
ASK = (
    "import socket, sys\n"
    "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()\n"
    "except OSError as error: print(error)"
)


@pytest.fixture(scope="module")
def raised():
    with standing("beside") as lab:
        listener = lab.host("s1").popen([sys.executable, "-c", LISTEN])
        yield lab
        listener.kill()
        listener.wait()


@pytest.fixture
def node(raised, pillar):
    """The applied host."""
    host = TransactionNode(raised.host("s1"))
    host.call("apply", pillar)
    return host


def answer_from(raised, port=OPEN):
    """The error of a new connection of an outsider; empty if it succeeds."""
    s1 = raised.host("s1").ipv4
    return raised.host("out").run([sys.executable, "-c", ASK, s1, str(port)]).stdout.strip()


def is_running(node, name):
    return name in [process.name for process in node.host.processes()]


# -- firewalld and its bus ------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "seconds"), half_of(("apply", "remove"), (0.05, 0.15)))
def test_firewalld_killed_in_a_reload_does_not_cut_peers_off_for_long(
    raised, node, pillar, function, seconds
):
    if function == "apply":
        node.call("remove")
    old = node.state()
    answer = node.drive(99, "kill", pillar, function=function, kill_in_reload=seconds)
    began = time.monotonic()
    node.wait_until_ended()
    if not is_running(node, "firewalld"):  # It was killed after everything was done.
        node.host.start_firewalld()
        node.firewall_cmd("--reload")
    expected = {"": function, "[Errno 113] No route to host": "remove"}
    wait_until(lambda: answer_from(raised) in expected, "The outsider is cut off", timeout=15)
    assert time.monotonic() - began < 30
    node.assert_nothing_is_left()
    if "refused" in answer:
        assert node.state() == old
        assert "everything was undone" in answer["refused"][-1]
    assert node.call("apply", pillar)["notices"] == []
    assert answer_from(raised) == ""
    assert node.call("compare", pillar)["changes"] == {}


@pytest.mark.parametrize("step", ["execute"])
def test_a_frozen_firewalld_ends_the_run_and_is_undone_when_it_resumes(node, pillar, new_row, step):
    steps, old, new = steps_of(node, pillar, new_row)
    began = time.monotonic()
    answer = node.drive(steps.index(step), "stop-firewalld", new_row)
    assert time.monotonic() - began < 45
    assert "firewalld is on the D-Bus and did not answer within" in " ".join(answer["refused"])
    assert "not everything could be undone; the watchdog" in answer["refused"][-1]
    node.run("pkill", "-CONT", "-x", "firewalld")
    node.wait_until_ended(within=40)
    assert node.state() == old
    node.assert_nothing_is_left()


def test_the_run_waits_for_a_firewalld_with_many_rules_to_change(node, pillar):
    row = {"protocol": "tcp", "source": "any", "destination": "any"}
    rows = {f"exporter{number}": {**row, "port": 9200 + number} for number in range(10)}
    cluster = {**pillar["ports"]["cluster"], **rows}
    new = {**pillar, "ports": {**pillar["ports"], "cluster": cluster}}
    steps, _old, after = steps_of(node, pillar, new)
    # Longer than an idle one may take to answer.
    busy = threading.Thread(target=go_on_after, args=(node, 9))
    busy.start()
    answer = node.drive(steps.index("runtime"), "stop-firewalld", new)
    busy.join()
    assert answer["notices"] == []
    assert node.state() == after


def go_on_after(node, seconds):
    """Resume a firewalld that will be stopped, this many seconds later."""
    (firewalld,) = [each.pid for each in node.host.processes() if each.name == "firewalld"]
    stat = Path(f"/proc/{firewalld}/stat")
    wait_until(
        lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it goes on", timeout=60
    )
    time.sleep(seconds)
    os.kill(firewalld, signal.SIGCONT)


@pytest.mark.parametrize("step", ["execute"])
def test_a_bus_that_dies_is_reported_and_the_change_is_undone_when_it_is_back(
    node, pillar, new_row, step
):
    steps, old, new = steps_of(node, pillar, new_row)
    answer = node.drive(steps.index(step), "kill-bus", new_row)
    assert "the system D-Bus closed the connection" in answer["refused"][0]
    assert answer["kind"] == "Undone"
    with contextlib.suppress(Exception):
        node.run("pkill", "-x", "firewalld")
    wait_until(lambda: not is_running(node, "firewalld"), "firewalld does not end", timeout=10)
    node.host.start_dbus()
    node.wait_until_ended(within=40)
    assert is_running(node, "firewalld")
    assert node.state() == old
    node.assert_nothing_is_left()


# -- many -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("applies", [16, exhaustive(50)])
def test_concurrent_applies_and_a_foreign_writer_end_in_one_state(node, pillar, new_row, applies):
    before = node.firewall_cmd("--permanent", "--zone=public", "--list-ports").split()
    known = {entry["id"] for entry in node.call("history", pillar)}
    ports = []
    with ThreadPoolExecutor(applies) as pool:
        tables_of_all = [pillar, new_row] * (applies // 2)
        running = [pool.submit(node.call, "apply", tables) for tables in tables_of_all]
        while not all(run.done() for run in running):
            # An operator's, all the time. The answer may be late; what was written must stay.
            ports.append(f"{7301 + len(ports)}/tcp")
            node.firewall_cmd("--permanent", "--zone=public", f"--add-port={ports[-1]}")
    for run in running:
        assert "changes" in run.result()
    assert [] in [list(node.call("compare", tables)["changes"]) for tables in (pillar, new_row)]
    listed = node.firewall_cmd("--permanent", "--zone=public", "--list-ports").split()
    assert sorted(listed) == sorted([*before, *ports])
    ended = [entry for entry in node.call("history", pillar) if entry["id"] not in known]
    assert {entry["outcome"] for entry in ended} == {"kept"}
    removed = [f"--remove-port={port}" for port in ports]
    node.firewall_cmd("--permanent", "--zone=public", *removed)
    node.assert_nothing_is_left()
