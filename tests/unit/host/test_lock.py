"""Who waits for the lock gives up on a run that does not end, and not on a queue that moves."""

import threading
import time

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.lock import only_one

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
