"""The undo program copes with any leftover of a transaction, and never undoes a kept one."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.permanent import put_files
from k3sfw_engine.host.lock import holder
from k3sfw_engine.standalone.undo import main as undo_main
from k3sfw_engine.standalone.undo.confirm_deadline import CONFIRM_BY
from k3sfw_engine.standalone.undo.main import (
    ANY,
    BY_BOOT,
    BY_NEXT_RUN,
    BY_RUN,
    BY_WATCHDOG,
    TOLD,
    main,
)
from k3sfw_engine.standalone.undo.record import RECORD, Process
from k3sfw_engine.standalone.undo.step_log import ENDED, STEPS
from k3sfw_engine.transaction import journal
from tests.unit.records import NOTHING_CHANGED, use_state_folder


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A state folder of its own."""
    folder = tmp_path / "state"
    use_state_folder(monkeypatch, folder)
    return folder


@pytest.fixture
def file(tmp_path):
    """A file that the transaction has written."""
    path = tmp_path / "k3s.xml"
    path.write_text("new")
    return path


@pytest.fixture
def begun(file, tmp_path):
    """A transaction under way, with nothing at runtime."""
    return journal.begin(
        NOTHING_CHANGED._replace(files={str(file): "old"}, lock=str(tmp_path / "lock"))
    )


def test_a_kept_transaction_that_was_not_put_away_is_history_for_every_reader(begun):
    begun.note(ENDED, **{"as": journal.KEPT})
    assert journal.unfinished() is None
    (entry,) = journal.past()
    journal.begin(NOTHING_CHANGED)
    assert [each.name for each in journal.past()] == [entry.name] == [begun.name]


@pytest.mark.parametrize("by", [BY_WATCHDOG, BY_BOOT, BY_NEXT_RUN])
def test_a_kept_transaction_that_was_not_put_away_is_not_undone(state, begun, file, by):
    begun.note(journal.PERMANENT)
    begun.note(ENDED, **{"as": journal.KEPT})
    assert main([str(state), ANY, by]) == 0
    assert file.read_text() == "new"
    assert journal.unfinished() is None
    assert [entry.ended for entry in journal.past()] == ["kept"]
    assert not (state / TOLD).exists()


def test_a_run_that_fails_after_all_is_undone(state, begun, file):
    begun.note(ENDED, **{"as": journal.KEPT})
    assert main([str(state), ANY, BY_RUN]) == 0
    assert file.read_text() == "old"
    assert [entry.ended for entry in journal.past()] == ["undone"]


def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(state, begun, file):
    begun.note("files")
    path = state / "transaction" / STEPS
    path.write_text(path.read_text() + '{"step": "runt')
    assert main([str(state), ANY, BY_NEXT_RUN]) == 0
    assert file.read_text() == "old"
    assert [entry.ended for entry in journal.past()] == ["undone"]


def test_leftovers_without_a_record_do_not_block_the_next_transaction(state, begun):
    begun.note("files")
    (state / "transaction" / RECORD).unlink()
    assert journal.unfinished() is None
    journal.begin(NOTHING_CHANGED)
    assert journal.unfinished() is not None


@pytest.mark.parametrize("garbage", ["[]", "{}", '"text"', '{"id": 1}', "null"])
def test_json_that_is_not_a_record_is_reported_with_its_fix(state, begun, garbage):
    (state / "transaction" / RECORD).write_text(garbage)
    with pytest.raises(EngineError, match=r"transaction cannot be read .* Fix: .* remove"):
        journal.unfinished()


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": "ended"}', "null", "text"])
def test_garbage_among_the_steps_is_skipped(state, begun, line):
    begun.note("files")
    path = state / "transaction" / STEPS
    path.write_text(path.read_text() + f"{line}\n")
    assert journal.unfinished().ended == ""
    assert main([str(state), ANY, BY_NEXT_RUN]) == 0
    assert json.dumps(journal.past()[0].ended) == '"undone"'


def test_two_programs_do_not_undo_at_once_and_a_start_of_firewalld_waits_for_neither(
    state, begun, file
):
    undone = threading.Thread(target=main, args=([str(state), ANY, BY_NEXT_RUN],))
    with (state / "transaction" / RECORD).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main([str(state), ANY, BY_BOOT]) == 0
        undone.start()
        undone.join(0.5)
        assert undone.is_alive() and file.read_text() == "new"
    undone.join(5)
    assert file.read_text() == "old" and len(journal.past()) == 1


def test_setting_the_clock_does_not_change_the_wait_but_a_reboot_ends_it(state, begun):
    begun.confirm_by(60, {}, {}, "")
    lines = state / "transaction" / STEPS
    lines.write_text(json.dumps({"step": CONFIRM_BY, "by": 1.0}) + "\n")
    assert journal.unfinished().waits
    deadline = state / "transaction" / CONFIRM_BY
    deadline.write_text(deadline.read_text().split()[0] + " another-boot")
    assert not journal.unfinished().waits


@pytest.mark.parametrize("holds", [True, False])
def test_the_watchdog_kills_a_run_only_while_that_run_holds_the_lock(
    state, file, tmp_path, monkeypatch, holds
):
    lock = tmp_path / "lock"
    monkeypatch.setattr(undo_main, "PATIENCE", 0.0)
    with subprocess.Popen(["flock", lock, "sleep", "60"], start_new_session=True) as run:
        try:
            while not lock.exists() or is_free(lock):
                time.sleep(0.01)
            lock.write_text("the run")
            begin_watched(file, lock, run.pid)
            if not holds:
                # It has ended but for other work, and a later run has its turn.
                lock.write_text("another run")
                threading.Timer(1.0, os.killpg, (run.pid, signal.SIGTERM)).start()
            watchdog = [str(state), ANY, BY_WATCHDOG]
            undone = threading.Thread(target=main, args=(watchdog,))
            undone.start()
            run.wait(10)
            assert run.returncode == (-signal.SIGKILL if holds else -signal.SIGTERM)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        undone.join(10)
    assert file.read_text() == "old"


def begin_watched(file, lock, pid):
    return journal.begin(
        NOTHING_CHANGED._replace(
            files={str(file): "old"},
            lock=str(lock),
            holder=holder(lock),
            owner=Process.of(pid),
        )
    )


def is_free(lock):
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_the_watchdog_keeps_its_patience_after_a_long_wait_for_confirmation(
    state, begun, file, monkeypatch
):
    monkeypatch.setattr(undo_main, "PATIENCE", 1.0)
    monkeypatch.setattr(undo_main, "PAUSE", 0.1)
    begun.confirm_by(1.5, {}, {}, "")
    waiting = file.with_name("k3s.xml.new")
    waiting.mkdir()
    threading.Timer(2.4, waiting.rmdir).start()
    assert main([str(state), ANY, BY_WATCHDOG]) == 0
    assert file.read_text() == "old"


def test_file_names_are_on_disk_before_the_next_step_is_noted(state, file, monkeypatch):
    synced = []
    fsync = os.fsync

    def noticing(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noticing)
    noted = str(state / "transaction" / STEPS)
    begun = begin_watched(file, state.with_name("lock"), 0)
    begun.note(journal.PERMANENT)
    assert synced[-3:] == [str(state), noted, str(state / "transaction")]
    put_files({file: b"new"})
    assert synced[-1] == str(file.parent)
    synced.clear()
    assert main([str(state), ANY, BY_BOOT]) == 0
    assert synced[synced.index(noted) - 1] == str(file.parent)
