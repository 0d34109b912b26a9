"""Who waits for the lock gives up on a run that does not end, and not on a queue that moves."""

import threading
import time

import pytest

from k3sfw_engine.commands.check import change_under_way
from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.lock import is_free_within, only_one

DEADLINE = 1.0


def test_one_waits_for_a_queue_much_longer_than_for_a_run(tmp_path):
    lock = tmp_path / "lock"
    ended = []

    def run():
        with only_one(lock, DEADLINE):
            time.sleep(DEADLINE / 4)
            ended.append(time.monotonic())

    runs = [threading.Thread(target=run) for _ in range(8)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert len(ended) == 8
    assert ended[-1] - ended[0] > 1.5 * DEADLINE


def test_a_run_that_does_not_end_is_told_and_where_to_look_for_it(tmp_path):
    lock = tmp_path / "lock"
    began = time.monotonic()
    with only_one(lock), pytest.raises(EngineError) as refused, only_one(lock, DEADLINE):
        pass
    assert DEADLINE <= time.monotonic() - began < 10 * DEADLINE
    assert f"another run of k3sfw has held {lock} for more than" in str(refused.value)
    assert f"Fix: find the process (fuser {lock})" in str(refused.value)


def test_a_check_waits_for_a_change_and_leaves_the_lock_to_the_next_one(tmp_path):
    lock = tmp_path / "lock"
    assert is_free_within(0, lock)
    holds, ends = threading.Event(), threading.Event()

    def change():
        with only_one(lock):
            holds.set()
            ends.wait()

    running = threading.Thread(target=change)
    running.start()
    holds.wait()
    assert not is_free_within(0, lock)
    assert any("of neither state" in notice for notice in change_under_way(0, lock))
    ends.set()
    assert change_under_way(60, lock) == ()
    running.join()
    with only_one(lock, 0):
        assert not is_free_within(0, lock)
