"""The journal of a transaction can be read at any moment, however its run was interrupted."""

from __future__ import annotations

import json

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.standalone.undo.record import RECORD
from k3sfw_engine.standalone.undo.step_log import RUNTIME, STEPS
from k3sfw_engine.transaction import journal
from tests.unit.records import NOTHING_CHANGED, use_state_folder


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A state folder of its own."""
    folder = tmp_path / "state"
    use_state_folder(monkeypatch, folder)
    return folder


def test_a_transaction_is_there_whole_or_not_at_all(state):
    assert journal.unfinished() is None
    begun = journal.begin(NOTHING_CHANGED)
    entry = journal.unfinished()
    assert (entry.name, entry.what, entry.ended) == (begun.name, "apply", "")
    assert [path.name for path in state.iterdir()] == ["transaction"]


def test_an_incomplete_beginning_is_ignored(state):
    (state / "transaction.new").mkdir(parents=True)
    (state / "transaction.new" / RECORD).write_text("{half a fi")
    assert journal.unfinished() is None
    journal.begin(NOTHING_CHANGED)
    assert not (state / "transaction.new").exists()


def test_a_kept_transaction_is_history_and_nothing_undoes_it(state):
    begun = journal.begin(NOTHING_CHANGED)
    begun.note(RUNTIME)
    assert begun.touched and not begun.has_ended
    begun.keep()
    assert begun.has_ended and journal.unfinished() is None
    (entry,) = journal.past()
    assert (entry.name, entry.ended, entry.by) == (begun.name, "kept", "")


def test_a_step_whose_line_was_cut_short_had_not_begun(state):
    begun = journal.begin(NOTHING_CHANGED)
    begun.note("files")
    path = state / "transaction" / STEPS
    path.write_text(path.read_text() + '{"step": "rel')
    assert journal.unfinished().ended == ""
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()[:1]] == ["files"]


def test_a_waiting_transaction_knows_its_deadline_and_what_it_will_write(state, tmp_path):
    begun = journal.begin(NOTHING_CHANGED)
    files = {tmp_path / "one.xml": b"\xff<zone/>", tmp_path / "two.xml": None}
    begun.confirm_by(60, files, {}, '{"format": 1}')
    entry = journal.unfinished()
    assert entry.files == files
    assert entry.tables == '{"format": 1}'
    assert entry.confirm_by > 0
    begun.keep()
    assert journal.past()[0].confirm_by == 0


def test_a_transaction_that_an_earlier_version_left_waiting_has_no_tables_to_keep(state):
    journal.begin(NOTHING_CHANGED).confirm_by(60, {}, {}, "")
    (state / "transaction" / "tables.json").unlink()
    assert journal.unfinished().tables == ""


def test_a_transaction_that_touched_nothing_leaves_no_trace(state):
    begun = journal.begin(NOTHING_CHANGED)
    assert not begun.touched
    begun.forget()
    assert journal.unfinished() is None and journal.past() == []


def test_the_last_twenty_are_kept_the_newest_first(state):
    names = []
    for _turn in range(23):
        begun = journal.begin(NOTHING_CHANGED)
        names.append(begun.name)
        begun.keep()
    assert [entry.name for entry in journal.past()] == names[:2:-1]


def test_the_newest_sorts_last_although_the_clock_was_set_back(state):
    begun = journal.begin(NOTHING_CHANGED)
    begun.keep()
    future = state / "history" / begun.name.replace("20", "21", 1)
    (state / "history" / begun.name).rename(future)
    names = [future.name]
    for _turn in range(22):
        begun = journal.begin(NOTHING_CHANGED)
        names.append(begun.name)
        begun.keep()
    assert sorted(path.name for path in (state / "history").iterdir()) == names[3:]


def test_a_garbled_record_is_reported_with_its_fix(state):
    (state / "transaction").mkdir(parents=True)
    (state / "transaction" / RECORD).write_text("garbage")
    with pytest.raises(EngineError, match=r"transaction cannot be read .* Fix: .* remove"):
        journal.unfinished()


def test_a_state_folder_that_cannot_be_written_stops_a_change_before_it_begins(state):
    state.parent.mkdir(exist_ok=True)
    state.write_text("a file")
    with pytest.raises(EngineError, match="cannot be written .* Fix: make room"):
        journal.begin(NOTHING_CHANGED)
