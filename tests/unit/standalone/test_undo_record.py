"""A record of a transaction is read as it was written, or its damage is named."""

from __future__ import annotations

import json

import pytest

from k3sfw_engine.standalone.undo.record import (
    BadRecord,
    Process,
    Record,
    from_json,
    read_record,
    to_json,
    write_record,
)
from tests.unit.records import NOTHING_CHANGED

FULL = NOTHING_CHANGED._replace(
    changes={"runtime": {"policy k3s-rows": {"priority": {"old": 1, "new": 2}}}},
    baseline=[("192.0.2.1", 4506)],
    objects=[("ipset", "k3s-server-4", {"entries": ["192.0.2.11"]})],
    owner=Process(17, "4711"),
    firewalld=Process(18, "4712"),
    files={"/etc/firewalld/policies/k3s-rows.xml": "<policy/>", "/etc/firewalld/x.xml": None},
    others={"zones": {}, "policies": {}, "ipsets": {}, "direct": {}},
    id="20260101T000000.000000Z-17",
    at=1.5,
)

# As 0.1.0 wrote them: an upgrade may find such a transaction under way.
KEYS_OF_0_1_0 = {
    *("id", "at", "version", "what", "job", "changes", "reloads", "baseline", "objects", "owner"),
    *("firewalld", "lock", "holder", "iptables", "files", "runtime", "others", "names"),
}


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_record(str(tmp_path), FULL)
    assert read_record(str(tmp_path)) == FULL


def test_no_field_of_an_older_version_was_renamed():
    written = json.loads(to_json(FULL))
    assert set(written) >= KEYS_OF_0_1_0
    assert written["owner"] == {"pid": 17, "started": "4711"}
    assert written["firewalld"] == ["18", "4712"]


def test_fields_of_a_later_version_are_left_out():
    assert from_json(json.dumps({**json.loads(to_json(FULL)), "later": 1})) == FULL


def test_a_folder_without_a_record_has_none(tmp_path):
    assert read_record(str(tmp_path)) is None


@pytest.mark.parametrize("field", Record._fields)
def test_a_field_that_is_missing_or_garbled_is_named(field):
    written = json.loads(to_json(FULL))
    garbled = "now" if field == "at" else 0
    with pytest.raises(BadRecord, match=f"garbled {field}"):
        from_json(json.dumps({**written, field: garbled}))
    del written[field]
    with pytest.raises(BadRecord, match=f"lacks {field}"):
        from_json(json.dumps(written))


@pytest.mark.parametrize(
    "garbled", [{"owner": {}}, {"firewalld": ["18"]}, {"baseline": ["x"]}, {"objects": [[1]]}]
)
def test_processes_and_lists_that_are_garbled_are_told(garbled):
    with pytest.raises(BadRecord, match="garbled processes or lists"):
        from_json(json.dumps({**json.loads(to_json(FULL)), **garbled}))


def test_a_process_that_is_not_there_is_not_alive():
    assert not Process(0, "").is_alive
    assert not Process(1, "another start").is_alive
    assert Process.of(1).is_alive
