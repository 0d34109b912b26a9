"""Changes that wait for confirmation, rollbacks, and the history of both."""

import contextlib
import os
import signal
import time

import pytest

from tests.functional.hosts import SERVER, Node, standing

# The ids of the first and the last change.
WATCHDOG = ("sh", "flock", "program")
A3 = {"a3": {"role": "agent", "addresses": ["192.0.2.23"]}}


@pytest.fixture(scope="module")
def shared():
    with standing("back", (SERVER,)) as raised:
        yield Node(raised.host("s1"))


@pytest.fixture
def more(pillar):
    """The tables with one more agent."""
    more = {"a2": {"role": "agent", "addresses": ["192.0.2.22"]}}
    return {**pillar, "nodes": {**pillar["nodes"], **more}}


@pytest.fixture(autouse=True)
def applied(shared, pillar):
    """The host as each test finds it: with these tables, and without a history."""
    shared.call("apply", pillar)
    shared.run("rm", "-rf", "/var/lib/k3sfw/history")


def knows(node, address):
    """Whether an address is allowed, at runtime and permanently."""
    return (
        address in node.firewall_cmd("--ipset=k3s-node-4", "--get-entries"),
        address in node.path("/etc/firewalld/ipsets/k3s-node-4.xml").read_text(),
    )


def test_an_unconfirmed_change_is_undone_in_time(shared, more):
    began = time.monotonic()
    shared.call("apply", more, confirm_within=2)
    assert knows(shared, "192.0.2.22") == (True, False)
    while shared.path("/var/lib/k3sfw/transaction").exists():
        assert time.monotonic() - began < 10
        time.sleep(0.1)
    assert time.monotonic() - began > 2
    assert knows(shared, "192.0.2.22") == (False, False)
    (entry,) = shared.call("history", more)
    assert entry["outcome"] == "undone by the watchdog"


def test_the_next_apply_reports_what_the_watchdog_undid(shared, pillar, more):
    shared.call("apply", more, confirm_within=1)
    while shared.path("/var/lib/k3sfw/transaction").exists():
        time.sleep(0.1)
    (notice,) = shared.call("apply", pillar)["notices"]
    assert "was not confirmed and was undone by the watchdog" in notice
    assert shared.call("apply", pillar)["notices"] == []


def test_a_rollback_right_after_the_watchdog_goes_back_no_further(shared, more):
    shared.call("apply", more)
    (entry,) = shared.call("history", more)
    two = {**more, "nodes": {**more["nodes"], **A3}}
    shared.call("apply", two, confirm_within=1)
    while shared.path("/var/lib/k3sfw/transaction").exists():
        time.sleep(0.1)
    for options in ({}, {"test": True}):
        (refused,) = shared.try_call("rollback", more, **options)["refused"]
        assert "was undone by the watchdog already, so nothing else is rolled back" in refused
    assert knows(shared, "192.0.2.22") == (True, True)
    shared.call("rollback", more, name=entry["id"])
    assert knows(shared, "192.0.2.22") == (False, False)


def test_a_refused_apply_also_reports_what_the_watchdog_undid(shared, more):
    shared.call("apply", more, confirm_within=1)
    while shared.path("/var/lib/k3sfw/transaction").exists():
        time.sleep(0.1)
    policy = shared.path("/etc/firewalld/policies/k3s-rows.xml")
    ours = policy.read_text()
    policy.write_text("<policy target='CONTINUE'><short>of a stranger</short></policy>")
    try:
        *_refusals, told = shared.try_call("apply", more)["refused"]
    finally:
        policy.write_text(ours)
    assert "was not confirmed and was undone by the watchdog" in told


def test_a_confirmed_change_survives_a_reload(shared, more):
    shared.call("apply", more, confirm_within=30)
    shared.call("confirm", more)
    assert knows(shared, "192.0.2.22") == (True, True)
    shared.firewall_cmd("--reload")
    assert knows(shared, "192.0.2.22") == (True, True)
    (entry,) = shared.call("history", more)
    assert entry["outcome"] == "kept"


def test_any_reload_undoes_what_is_not_confirmed(shared, more):
    shared.call("apply", more, confirm_within=30)
    shared.firewall_cmd("--reload")
    assert knows(shared, "192.0.2.22") == (False, False)
    (refused,) = shared.try_call("confirm", more)["refused"]
    assert "is not in force any more" in refused
    assert knows(shared, "192.0.2.22") == (False, False)
    shared.call("rollback", more)


def test_no_other_change_starts_while_one_waits_for_confirmation(shared, pillar, more):
    shared.call("apply", more, confirm_within=30)
    for options in ({}, {"test": True}):
        (refused,) = shared.try_call("apply", pillar, **options)["refused"]
        assert "unless it is confirmed. Fix: k3sfw.confirm keeps it" in refused
    assert knows(shared, "192.0.2.22") == (True, False)
    shared.call("rollback", more)
    assert knows(shared, "192.0.2.22") == (False, False)
    (entry,) = shared.call("history", more)
    assert entry["outcome"] == "undone by the rollback"


def test_a_rollback_that_comes_too_late_does_not_claim_success(shared, more):
    shared.call("apply", more, confirm_within=30)
    (entry,) = shared.call("history", more)
    moved = f"sleep 2; mv /var/lib/k3sfw/transaction /var/lib/k3sfw/history/{entry['id']}"
    shared.run("mkdir", "-p", "/var/lib/k3sfw/history")
    shared.host.run(["sh", "-c", f"flock /run/k3sfw.lock sh -c '{moved}' > /dev/null 2>&1 &"])
    (refused,) = shared.try_call("rollback", more)["refused"]
    assert "it was confirmed or undone just now" in refused
    assert knows(shared, "192.0.2.22")[0]


def test_a_rollback_of_what_was_not_confirmed_in_time_goes_back_no_further(shared, more):
    shared.call("apply", more)
    confirmable = {**more, "nodes": {**more["nodes"], **A3}}
    shared.call("apply", confirmable, confirm_within=30)
    # As if the watchdog had not run yet.
    while watchdog := [each for each in shared.host.processes() if each.name in WATCHDOG]:
        for process in watchdog:
            # Once one has it, the others may end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    shared.path("/var/lib/k3sfw/transaction/confirm-by").write_text("0 an-earlier-boot")
    foretold = shared.call("rollback", more, test=True)["changes"]
    assert shared.call("rollback", more)["changes"] == foretold != {}
    assert knows(shared, "192.0.2.22") == (True, True)
    assert knows(shared, "192.0.2.23") == (False, False)


def test_a_rollback_that_waited_for_another_run_keeps_that_runs_change(shared, more):
    shared.call("apply", more)
    (entry,) = shared.call("history", more)
    history, later = "/var/lib/k3sfw/history", f"2999{entry['id'][4:]}"
    copied = f"cp -r {history}/{entry['id']} {history}/{later}"
    renamed = f"sed -i s/{entry['id']}/{later}/ {history}/{later}/before.json"
    made = f"sleep 2; {copied}; {renamed}"
    shared.host.run(["sh", "-c", f"flock /run/k3sfw.lock sh -c '{made}' > /dev/null 2>&1 &"])
    (refused,) = shared.try_call("rollback", more)["refused"]
    assert "another change was made just now" in refused
    assert knows(shared, "192.0.2.22") == (True, True)


def test_there_is_nothing_to_confirm_if_nothing_waits(shared, pillar):
    (refused,) = shared.try_call("confirm", pillar)["refused"]
    assert "no change waits to be confirmed" in refused


def test_a_rollback_covers_all_layers_and_test_mode_predicts_it(shared, pillar, more):
    before = shared.runtime()
    shared.call("apply", more)
    foretold = shared.call("rollback", more, test=True)["changes"]
    assert knows(shared, "192.0.2.22") == (True, True)
    assert shared.call("rollback", more)["changes"] == foretold != {}
    assert knows(shared, "192.0.2.22") == (False, False)
    assert shared.runtime() == before
    assert shared.call("compare", pillar)["changes"] == {}


def test_a_rollback_can_name_an_older_change(shared, pillar, more):
    shared.call("apply", more)
    two = {**more, "nodes": {**more["nodes"], **A3}}
    shared.call("apply", two)
    newest, older = shared.call("history", two)
    assert newest["id"] > older["id"]
    shared.call("rollback", two, name=older["id"])
    assert shared.call("compare", pillar)["changes"] == {}


def test_a_rollback_of_the_first_apply_removes_everything(shared, pillar):
    shared.call("remove")
    clean = shared.runtime()
    shared.run("rm", "-rf", "/var/lib/k3sfw/history")
    shared.call("apply", pillar)
    shared.call("rollback", pillar)
    assert shared.runtime() == clean
    assert not [name for name in shared.files() if "k3s" in name]


def test_a_rollback_to_an_unknown_change_lists_the_known_ones(shared, more):
    shared.call("apply", more)
    (entry,) = shared.call("history", more)
    (refused,) = shared.try_call("rollback", more, name="20200101T000000")["refused"]
    assert "no record of the change 20200101T000000" in refused
    assert entry["id"] in refused


def test_the_history_lists_changes_and_keeps_twenty(shared, pillar, more):
    for _turn in range(11):
        shared.call("apply", more)
        shared.call("apply", pillar)
    entries = shared.call("history", pillar)
    assert len(entries) == 20
    assert entries == sorted(entries, key=lambda entry: entry["id"], reverse=True)
    assert entries[0]["what"] == "apply"
    assert entries[0]["outcome"] == "kept"
    assert entries[0]["changes"]["runtime"]["ipset k3s-node-4"]["entries"] == {
        "old": ["192.0.2.22"],
        "new": [],
    }
    assert shared.path("/var/lib/k3sfw").stat().st_mode & 0o777 == 0o700


def test_an_apply_that_changes_nothing_leaves_no_trace(shared, pillar):
    shared.call("apply", pillar)
    assert shared.call("history", pillar) == []
