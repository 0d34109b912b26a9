"""Removes single ports and rules from a zone of the operator, and loses nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k3sfw_engine.errors import NotConverged, Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.kernel_rules import accepted_by_zone
from k3sfw_engine.firewalld.operator_zone import Zone, has_all, read_zone, take_out, without
from k3sfw_engine.host.nft_command import list_table
from k3sfw_engine.model.firewall_objects import as_plain, in_order
from k3sfw_engine.plan.difference import differing_settings
from k3sfw_engine.plan.steps import TakeOutOfZone
from k3sfw_engine.standalone.undo.step_log import RUNTIME
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.journal import PERMANENT, Journal

_STEP_OF_LAYER = {"permanent": PERMANENT, "runtime": RUNTIME}


def take_out_of_zones(bus: Bus, journal: Journal, steps: Sequence[TakeOutOfZone]) -> None:
    """Carry out the steps and check each of them.

    Raises ``FirewalldRefused`` if firewalld refuses one, ``NotConverged`` if something of it is
    left, or if something else is lost.
    """
    for step in steps:
        journal.note(_STEP_OF_LAYER[step.layer])
        take_out(bus, step.zone.name, step.layer, step.elements)
    problems: list[Problem] = []
    for step in steps:
        now = read_zone(bus, step.zone.name)
        problems += _differences(step, now)
        if step.layer == "runtime":
            problems += _still_accepted(step, now)
    if problems:
        raise NotConverged(problems)


def _differences(step: TakeOutOfZone, now: Zone) -> Iterator[Problem]:
    """What is left, and what else is lost; another process may have added more meanwhile."""
    there, wanted = now.layers[step.layer], without(step.zone, step.elements)
    for setting in differing_settings(wanted, there):
        going = step.elements.get(setting, ())
        left = [item for item in going if item in there.listed(setting)]
        if left or not has_all(there, wanted, setting):
            now_there = as_plain({setting: there.settings[setting]})[setting]
            yield messages.zone_still_differs(step.layer, step.zone.name, setting, now_there)


def _still_accepted(step: TakeOutOfZone, now: Zone) -> Iterator[Problem]:
    gone = {item for items in step.elements.values() for item in items}
    listing = list_table("inet", "firewalld") or b'{"nftables": []}'
    for item in in_order(gone & accepted_by_zone(listing, step.zone.name) - now.also_open):
        yield messages.kernel_still_accepts(item, step.zone.name)
