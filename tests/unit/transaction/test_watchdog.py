"""The undo program in the state folder is complete at any moment, whatever version it is of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.transaction import journal, watchdog

OLD_MAIN = "from k3sfw_undo.undo import main\n\nmain()\n"
OLD = "def main():\n    print('old')\n"


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder with the program of another version in it."""
    state = tmp_path / "k3sfw"
    monkeypatch.setattr(journal, "STATE", state)
    monkeypatch.setattr(watchdog, "STATE", state)
    monkeypatch.setattr(watchdog, "_PROGRAM", state / "program")
    monkeypatch.setattr(watchdog, "TRANSACTION", state / "transaction")
    lay_out_old(state)
    return state


def lay_out_old(state):
    package = state / "program/k3sfw_undo"
    package.mkdir(parents=True)
    (state / "program/__main__.py").write_text(OLD_MAIN)
    (package / "__init__.py").write_text("")
    (package / "undo.py").write_text(OLD)


def started(state):
    """What the program prints, and its exit code, if there is nothing to undo."""
    command = [sys.executable, "-I", state / "program", state, "any", "boot"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout, done.returncode


OF_OLD, OF_THIS = ("old\n", 0), ("", 0)


def packages(state):
    return {path.name for path in (state / "program").glob("k3sfw_undo*")}


def test_the_program_is_replaced_if_no_transaction_is_under_way(state):
    assert started(state) == OF_OLD
    assert watchdog.lay_out_program()
    assert started(state) == OF_THIS
    assert len(packages(state)) == 1 and "k3sfw_undo" not in packages(state)
    assert not watchdog.lay_out_program()


def test_the_program_that_a_watchdog_may_start_stays_while_a_transaction_is_under_way(state):
    (state / "transaction").mkdir()
    (state / "transaction/before.json").write_text('{"id": "another"}')
    assert watchdog.lay_out_program()
    assert len(packages(state)) == 2 and "k3sfw_undo" in packages(state)


def test_a_damaged_program_of_this_version_is_replaced(state):
    watchdog.lay_out_program()
    (module,) = (state / "program").glob("*/main.py")
    module.write_text("")
    assert started(state)[1] != 0
    assert watchdog.lay_out_program()
    assert started(state) == OF_THIS


def test_wherever_writing_it_fails_the_old_or_the_new_program_can_be_started(state, monkeypatch):
    replace, found = os.replace, []
    done = False
    while not done:
        shutil.rmtree(state)
        lay_out_old(state)
        left = iter(range(len(found)))

        def replace_some(path, target, left=left):
            if next(left, None) is None:
                raise OSError(28, "No space left on device", str(path))
            return replace(path, target)

        monkeypatch.setattr(os, "replace", replace_some)
        try:
            watchdog.lay_out_program()
            done = True
        except EngineError:
            assert "k3sfw_undo" in packages(state)
        found.append(started(state))
    assert len(found) > 5
    assert found == [OF_OLD] * (len(found) - 1) + [OF_THIS]
