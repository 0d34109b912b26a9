"""A difference has one public form, from which it can be read again."""

from __future__ import annotations

import json

from hypothesis import given

from k3sfw_engine.model.difference import (
    WHOLE,
    Difference,
    as_changes,
    joined,
    read_changes,
    titles_by_layer,
)
from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.plan.make_plan import make_plan
from tests.unit.drifted_hosts import drifted
from tests.unit.samples import pillars, wanted

SERVERS = (Kind.IPSET, "k3s-server-4")
ROWS = (Kind.POLICY, "k3s-rows")
ENTRIES = Difference("runtime", SERVERS, "entries", ("192.0.2.11",), ("192.0.2.12",))
TARGET = Difference("permanent", ROWS, "target", "CONTINUE", "ACCEPT")
NEW = Difference("permanent", SERVERS, WHOLE, make_object(*SERVERS, {"entries": ("192.0.2.1",)}))
STATE = Difference("runtime", "firewalld", "state", "RUNNING", "FAILED")
TABLE = Difference("kernel", "table inet x", WHOLE, extra="drops")


def test_the_public_form_is_by_layer_object_and_setting_and_says_old_and_new():
    assert as_changes([ENTRIES, TARGET, NEW, STATE, TABLE]) == {
        "runtime": {
            "ipset k3s-server-4": {"entries": {"old": ["192.0.2.12"], "new": ["192.0.2.11"]}},
            "firewalld": {"state": {"old": "FAILED", "new": "RUNNING"}},
        },
        "permanent": {
            "policy k3s-rows": {"target": {"old": "ACCEPT", "new": "CONTINUE"}},
            "ipset k3s-server-4": {"old": None, "new": {"entries": ["192.0.2.1"]}},
        },
        "kernel": {"table inet x": {"old": "drops", "new": None}},
    }


@given(drifted(), pillars())
def test_a_recorded_difference_is_read_back_the_same(host, tree):
    differences = make_plan(wanted(tree), host.observed()).differences
    written = json.loads(json.dumps(as_changes(differences)))
    assert as_changes(read_changes(written)) == written
    assert sorted(map(str, read_changes(written))) == sorted(map(str, differences))


def test_a_difference_is_described_in_a_clause():
    assert [str(each) for each in (ENTRIES, TARGET, NEW, NEW.reversed)] == [
        "ipset k3s-server-4 entries lacks 192.0.2.11 and must not have 192.0.2.12",
        "policy k3s-rows has target ACCEPT in place of CONTINUE",
        "ipset k3s-server-4 is missing",
        "ipset k3s-server-4 is not wanted",
    ]


def test_a_reversed_difference_restores_what_was_removed():
    assert ENTRIES.reversed == Difference(
        "runtime", SERVERS, "entries", ("192.0.2.12",), ("192.0.2.11",)
    )
    assert NEW.is_new and not NEW.reversed.is_new


def test_joined_differences_of_one_object_are_the_later_ones():
    later = Difference("runtime", SERVERS, "entries", (), ("192.0.2.13",))
    assert joined((ENTRIES, TARGET), (later,)) == (TARGET, later)


def test_objects_are_named_once_in_each_layer():
    short = Difference("permanent", ROWS, "short", "a", "b")
    assert titles_by_layer((ENTRIES, TARGET, short)) == {
        "runtime": ["ipset k3s-server-4"],
        "permanent": ["policy k3s-rows"],
    }
