"""Whatever fails, freezes or is killed in an apply, the node ends in the old or new state."""

import threading
import time

import pytest

from lab.wait import wait_until
from tests.functional.hosts import standing
from tests.functional.transactions import TransactionNode, steps_of
from tests.selection import exhaustive


@pytest.fixture(scope="module")
def raised():
    with standing("faults") as lab:
        yield lab


@pytest.fixture
def node(raised, pillar):
    """The applied host, after repairing what the last test did to it."""
    host = TransactionNode(raised.host("s1"))
    if "firewalld" not in [process.name for process in host.host.processes()]:
        host.host.start_firewalld()
    host.call("apply", pillar)
    return host


def test_a_step_that_fails_undoes_all_before_it(node, pillar, new_row):
    old = node.state()
    # The first two steps are those that begin the transaction and arm the watchdog.
    at, undone, answer = 2, 0, {"refused": ()}
    while "refused" in answer:
        answer = node.drive(at, "fail", new_row)
        if "refused" in answer:
            assert f"failed on purpose before {answer['steps'][at]}" in answer["refused"][0]
            assert node.state() == old, answer["steps"]
            assert not node.path("/var/lib/k3sfw/transaction").exists(), answer["steps"]
            node.assert_nothing_is_left()
            undone += answer["kind"] == "Undone"
        at += 1
    assert undone >= 3
    assert node.call("compare", new_row)["changes"] == {}


@pytest.mark.parametrize(
    "step",
    [
        "runtime",
        "put_files",
        *(exhaustive(step) for step in ("armed", "execute", "permanent")),
    ],
)
def test_a_run_that_freezes_is_ended_and_undone(node, new_row, step):
    old = node.state()
    steps = node.drive(99, "kill", new_row)["steps"]
    node.call("rollback", new_row)
    frozen = threading.Thread(
        target=node.drive, args=(steps.index(step), "freeze", new_row), kwargs={"within": 2}
    )
    frozen.start()
    frozen.join(30)
    assert not frozen.is_alive()
    node.wait_until_ended()
    assert node.state() == old
    node.assert_nothing_is_left()


def test_a_run_that_is_at_work_is_not_reported_as_interrupted(node, new_row):
    frozen = threading.Thread(target=node.drive, args=(1, "freeze", new_row), kwargs={"within": 12})
    frozen.start()
    folder = node.path("/var/lib/k3sfw/transaction")
    wait_until(folder.exists, "No change has begun", timeout=20)
    assert node.call("history", new_row)[0]["outcome"] == "under way"
    assert "is still running" in node.call("apply", new_row, test=True)["notices"][0]
    (refused,) = node.try_call("rollback", new_row, test=True)["refused"]
    assert "is still running, so the result of a rollback cannot be predicted" in refused
    frozen.join(60)
    assert not frozen.is_alive()
    node.wait_until_ended()


def test_a_frozen_run_does_not_get_the_confirmation_timeout(node, new_row):
    old = node.state()
    began = time.monotonic()
    steps = node.drive(99, "kill", new_row, confirm_within=600)["steps"]
    node.call("rollback", new_row)
    for step in ("execute", "confirm-by"):
        options = {"within": 2, "confirm_within": 600 if step == "execute" else 10}
        node.drive(steps.index(step), "freeze", new_row, **options)
        node.wait_until_ended()
        assert node.state() == old
    assert time.monotonic() - began < 60
    node.assert_nothing_is_left()


@pytest.mark.parametrize("stride", [3, exhaustive(1)])
def test_firewalld_killed_at_any_step_is_started_again_with_the_old_rules_or_the_new(
    node, pillar, new_row, stride
):
    steps, old, new = steps_of(node, pillar, new_row)
    assert len(steps) > 6
    for at in range(0, len(steps), stride):
        answer = node.drive(at, "kill-firewalld", new_row)
        assert len(answer["steps"]) > at
        if node.path("/var/lib/k3sfw/transaction").exists():
            node.wait_until_ended()
        if "firewalld" not in [process.name for process in node.host.processes()]:
            # It died after its last use. A start adds to what a killed one left.
            node.host.start_firewalld()
            node.firewall_cmd("--reload")
        assert node.state() in (old, new), (at, answer)
        node.assert_nothing_is_left()
        node.call("apply", pillar)
