"""What is written down of a change can be read at any moment, however it was broken off."""

from __future__ import annotations

import json

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.standalone.undo import record
from k3sfw_engine.transaction import journal

# Of a change that has changed nothing.
BEFORE = {
    "what": "apply",
    "version": "1",
    "owner": {"pid": 0, "started": "none"},
    "holder": "",
    "job": "",
    "changes": {},
    "reloads": [],
    "baseline": [],
    "objects": [],
    "files": {},
}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A state folder of its own."""
    folder = tmp_path / "state"
    monkeypatch.setattr(journal, "STATE", folder)
    monkeypatch.setattr(journal, "TRANSACTION", folder / "transaction")
    monkeypatch.setattr(journal, "_HISTORY", folder / "history")
    return folder


def test_a_transaction_is_there_whole_or_not_at_all(state):
    assert journal.unfinished() is None
    begun = journal.begin(BEFORE)
    entry = journal.unfinished()
    assert (entry.name, entry.what, entry.ended) == (begun.name, "apply", "")
    assert [path.name for path in state.iterdir()] == ["transaction"]


def test_what_was_left_before_it_was_complete_is_of_no_account(state):
    (state / "transaction.new").mkdir(parents=True)
    (state / "transaction.new" / record.BEFORE).write_text("{half a fi")
    assert journal.unfinished() is None
    journal.begin(BEFORE)
    assert not (state / "transaction.new").exists()


def test_one_that_is_kept_is_history_and_nobody_undoes_it(state):
    begun = journal.begin(BEFORE)
    begun.note(record.RUNTIME)
    assert begun.touched and not begun.has_ended
    begun.keep()
    assert begun.has_ended and journal.unfinished() is None
    (entry,) = journal.past()
    assert (entry.name, entry.ended, entry.by) == (begun.name, "kept", "")


def test_a_line_that_a_kill_cut_short_had_not_begun(state):
    begun = journal.begin(BEFORE)
    begun.note("files")
    path = state / "transaction" / record.JOURNAL
    path.write_text(path.read_text() + '{"step": "rel')
    assert journal.unfinished().ended == ""
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()[:1]] == ["files"]


def test_one_that_waits_tells_until_when_and_what_it_will_write(state, tmp_path):
    begun = journal.begin(BEFORE)
    files = {tmp_path / "one.xml": b"\xff<zone/>", tmp_path / "two.xml": None}
    begun.confirm_by(60, files, {})
    entry = journal.unfinished()
    assert entry.files == files
    assert entry.confirm_by > 0
    begun.keep()
    assert journal.past()[0].confirm_by == 0


def test_what_was_not_touched_leaves_no_trace(state):
    begun = journal.begin(BEFORE)
    assert not begun.touched
    begun.forget()
    assert journal.unfinished() is None and journal.past() == []


def test_the_last_twenty_are_kept_the_newest_first(state):
    names = []
    for _turn in range(23):
        begun = journal.begin(BEFORE)
        names.append(begun.name)
        begun.keep()
    assert [entry.name for entry in journal.past()] == names[:2:-1]


def test_the_newest_is_the_newest_though_the_clock_was_set_back(state):
    begun = journal.begin(BEFORE)
    begun.keep()
    future = state / "history" / begun.name.replace("20", "21", 1)
    (state / "history" / begun.name).rename(future)
    names = [future.name]
    for _turn in range(22):
        begun = journal.begin(BEFORE)
        names.append(begun.name)
        begun.keep()
    assert sorted(path.name for path in (state / "history").iterdir()) == names[3:]


def test_garbage_is_named_with_its_mend(state):
    (state / "transaction").mkdir(parents=True)
    (state / "transaction" / record.BEFORE).write_text("garbage")
    with pytest.raises(EngineError, match=r"transaction cannot be read .* Fix: .* remove"):
        journal.unfinished()


def test_a_folder_that_cannot_be_written_stops_everything_before_it_begins(state):
    state.parent.mkdir(exist_ok=True)
    state.write_text("a file")
    with pytest.raises(EngineError, match="cannot be written .* Fix: make room"):
        journal.begin(BEFORE)
