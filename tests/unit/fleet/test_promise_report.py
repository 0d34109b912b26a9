"""What the tables of a cluster make of its promises: only what these tables can say."""

from __future__ import annotations

from dataclasses import replace

from k3sfw_engine.fleet.promise_report import judge_tables, promises_as_plain
from tests.unit.samples import parsed, pillar

TESTS = {
    "kubelet": {"from": "198.51.100.0/24", "to": "any", "deny": "tcp/10250"},
    "mgmt": {"from": "mgmt", "to": "any", "accept": "tcp/22", "expect": "optional"},
}


def values(tables, minion):
    plain = promises_as_plain(judge_tables(tables, minion), tables)
    return {each["name"]: each["value"] for each in plain["tests"]}, plain["counts"]


def test_without_the_rows_of_the_other_role_its_part_of_a_promise_is_unproven():
    tables = parsed(pillar(tests=TESTS))
    assert tables.peer_rows is None
    for minion in ("s1", "a1", "a stranger"):
        assert values(tables, minion)[0] == {"kubelet": "unproven"}
    assert values(replace(tables, peer_rows=()), "s1")[0] == {"kubelet": "kept"}


def test_an_optional_promise_about_nothing_is_neither_listed_nor_counted():
    tables = replace(parsed(pillar(tests=TESTS)), peer_rows=())
    found, counts = values(tables, "s1")
    assert set(found) == {"kubelet"}
    assert sum(counts.values()) == 1
    there = pillar(tests=TESTS)
    there["groups"]["mgmt"] = ["198.51.100.32/28"]
    found, _counts = values(replace(parsed(there), peer_rows=()), "s1")
    assert set(found) == {"kubelet", "mgmt"}
