"""The record of which peer was asked when: kept, bounded, and begun anew when it is broken."""

from __future__ import annotations

import json

import pytest

from k3sfw_engine.host.proof_record import note_proofs, read_proofs

PEERS = {"a1", "a2", "s1"}


def test_what_was_asked_is_remembered_and_the_newest_time_counts(tmp_path):
    path = tmp_path / "state/asked.json"
    assert read_proofs(100, path) == ({}, ())
    note_proofs({"a1", "a2"}, PEERS, 100, path)
    found, problems = note_proofs({"a2", "s1"}, PEERS, 160, path)
    assert (found, problems) == ({"a1": 100, "a2": 160, "s1": 160}, ())
    assert read_proofs(200, path) == (found, ())


def test_peers_that_left_the_tables_are_forgotten(tmp_path):
    path = tmp_path / "asked.json"
    note_proofs(PEERS, PEERS, 100, path)
    assert note_proofs({"a1", "stranger"}, {"a1", "s1"}, 160, path)[0] == {"a1": 160, "s1": 100}
    assert set(json.loads(path.read_text())["peers"]) == {"a1", "s1"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"format": 2, "peers": {}}',
        b'{"format": 1}',
        b'{"format": 1, "peers": {"a1": "today"}}',
        b'{"format": 1, "peers": {"a1": true}}',
        b'{"format": 1, "peers": {"a1": -5}}',
    ],
)
def test_a_broken_record_is_told_once_and_begun_anew(tmp_path, content):
    path = tmp_path / "asked.json"
    path.write_bytes(content)
    assert read_proofs(100, path)[0] == {}
    found, problems = note_proofs({"a1"}, PEERS, 100, path)
    assert found == {"a1": 100}
    assert "is begun anew" in str(problems[0])
    assert note_proofs({"a1"}, PEERS, 160, path) == ({"a1": 160}, ())


def test_a_time_in_the_future_proves_nothing(tmp_path):
    path = tmp_path / "asked.json"
    note_proofs({"a1"}, PEERS, 5000, path)
    assert note_proofs({"s1"}, PEERS, 100, path)[0] == {"s1": 100}


def test_a_record_that_cannot_be_written_is_told_and_loses_no_answer(tmp_path):
    path = tmp_path / "asked.json"
    path.mkdir()
    found, problems = note_proofs({"a1"}, PEERS, 100, path)
    assert found == {"a1": 100}
    assert str(path) in str(problems[0])
