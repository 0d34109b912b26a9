"""The record of a change has everything that undoes it, and nothing that others may change."""

from __future__ import annotations

from k3sfw_engine.model.difference import Difference, as_changes
from k3sfw_engine.model.firewall_objects import Kind, by_key, digest, make_object
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import (
    ChangeEntries,
    Reload,
    RemovePermanent,
    TakeOutOfZone,
)
from k3sfw_engine.standalone.undo.record import Process, from_json, to_json
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.make_record import make_record

OURS = by_key(
    make_object(
        Kind.IPSET,
        name,
        {"description": digest(Kind.IPSET, name), "type": "hash:net", "entries": ("192.0.2.1",)},
    )
    for name in ("k3s-node-4", "k3s-server-4")
)
OBSERVED = Observed(runtime=OURS, permanent=OURS)
PUBLIC = make_object(Kind.ZONE, "public", {"ports": ("80/tcp", "81/tcp"), "services": ("ssh",)})


def record_of(*steps, differences=()):
    return make_record(Plan(steps, differences), OBSERVED, CommitOptions(what="apply"))


def test_the_runtime_objects_that_the_steps_name_can_be_restored():
    record = record_of(ChangeEntries("k3s-node-4", add=("192.0.2.2",)))
    assert record.runtime["ipsets"] == {"k3s-node-4": ["192.0.2.1"]}


def test_a_reload_may_change_all_of_them():
    record = record_of(Reload("new objects"))
    assert set(record.runtime["ipsets"]) == {"k3s-node-4", "k3s-server-4"}
    assert record.reloads == ["new objects"]


def test_of_a_zone_of_the_operator_only_what_is_taken_out_is_restored():
    steps = [
        TakeOutOfZone(layer, PUBLIC, {"ports": ("80/tcp",)}) for layer in ("permanent", "runtime")
    ]
    record = record_of(*steps)
    assert set(record.runtime["zones"]["public"]) == {"ports"}
    assert "/etc/firewalld/zones/public.xml" in record.files


def test_the_files_of_our_objects_are_in_it_also_if_they_go():
    record = record_of(RemovePermanent((Kind.IPSET, "k3s-gone")))
    assert {
        "/etc/firewalld/ipsets/k3s-node-4.xml",
        "/etc/firewalld/ipsets/k3s-server-4.xml",
        "/etc/firewalld/ipsets/k3s-gone.xml",
    } <= set(record.files)


def test_it_has_the_public_form_of_the_differences_and_can_be_written():
    difference = Difference("runtime", (Kind.IPSET, "k3s-node-4"), "entries", ("192.0.2.2",), ())
    record = record_of(differences=(difference,))
    assert record.changes == as_changes([difference])
    assert record.owner.is_alive
    assert record.firewalld == Process(0, "")
    assert from_json(to_json(record)).changes == record.changes
