"""Whether many rules come with a reload or one by one: by what costs clients least on this host.

firewalld changes rules one by one and loses no connection meanwhile, however long it takes. A
reload loads all at once. Where others have nothing that it drops for a moment, it refuses none
either: it drops a first packet, which the client's kernel repeats. Then the shorter time decides,
by the figures of this host's last changes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace

from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.others_runtime_rules import have_only_what_a_reload_keeps
from k3sfw_engine.firewalld.permanent import read_permanent
from k3sfw_engine.firewalld.runtime import flushes_iptables
from k3sfw_engine.host.iptables_save_restore import has_rules
from k3sfw_engine.model.firewall_objects import ours
from k3sfw_engine.plan.make_plan import ReloadCostsLess
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import Reload, SetRuntime, Step
from k3sfw_engine.transaction.defaults import (
    HELD_UP_AT_MOST,
    HELD_UP_BY_A_RELOAD,
    SECONDS_OF_A_RELOAD,
    SECONDS_OF_A_RULE,
)
from k3sfw_engine.transaction.journal import STATE

FILE = STATE / "pace.json"


@dataclass(frozen=True)
class Pace:
    """The seconds that firewalld takes on this host for a reload, and for one rule at runtime."""

    reload: float = SECONDS_OF_A_RELOAD
    rule: float = SECONDS_OF_A_RULE


def reload_costs_less(bus: Bus, observed: Observed) -> ReloadCostsLess:
    """Return what judges a number of rules on this host. Nothing is read before it is asked."""

    def judge(rules: int) -> bool:
        pace = read_pace()
        return (
            pace.reload <= HELD_UP_AT_MOST
            and pace.reload + HELD_UP_BY_A_RELOAD < rules * pace.rule
            and _reload_refuses_nothing(bus, observed)
        )

    return judge


def _reload_refuses_nothing(bus: Bus, observed: Observed) -> bool:
    if flushes_iptables(bus) and has_rules():
        return False
    keys = frozenset({**ours(observed.runtime), **ours(observed.permanent)})
    return have_only_what_a_reload_keeps(bus, keys, read_permanent())


def read_pace() -> Pace:
    """Return the figures of the last changes; where there are none, those of a slow host."""
    try:
        found = json.loads(FILE.read_bytes())
        return Pace(float(found["reload"]), float(found["rule"]))
    except (OSError, ValueError, LookupError, TypeError):
        return Pace()


def note_pace(steps: list[Step], seconds: float) -> None:
    """Keep what these steps took, if they show what a reload or a rule takes."""
    pace = read_pace()
    rules = [step.changed if isinstance(step, SetRuntime) else 0 for step in steps]
    if any(isinstance(step, Reload) for step in steps):
        pace = replace(pace, reload=seconds)
    elif rules and all(rules):
        pace = replace(pace, rule=seconds / sum(rules))
    else:
        return
    waiting = FILE.with_name(f"{FILE.name}.new")
    try:
        # Not waited for: figures that a power cut takes are measured again.
        waiting.write_text(json.dumps(vars(pace)))
        os.replace(waiting, FILE)
    except OSError:
        # The change itself is more urgent; the disk is the journal's matter.
        return
