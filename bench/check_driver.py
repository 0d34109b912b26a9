"""Runs inside a host: times one part of a check for ``bench.checks``, as JSON on stdout.

``check_driver.py local|peers|many < {"pillar": …, "minion_id": …, "count": …}``
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))

from k3sfw_engine.checks.ports.port_check import ProbeContext, alive, judge_answer
from k3sfw_engine.checks.ports.questions_to_peers import EVERYTHING, questions
from k3sfw_engine.checks.report import Report
from k3sfw_engine.commands import apply
from k3sfw_engine.commands.check_ports import check_ports
from k3sfw_engine.firewalld.dbus import Bus, Call
from k3sfw_engine.model.firewall_objects import ROWS
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.port_tables.read_pillar import parse_tables
from k3sfw_engine.probes.connect import ask

RUNS = 9


def main(what: str) -> dict[str, Any]:
    given = json.load(sys.stdin)
    before, began = peak(), time.process_time()
    tables = parse_tables(given["pillar"], minion_id=given["minion_id"], role="server")
    if what == "many":
        return many(tables, given["minion_id"], time.process_time() - began, before)
    return {"local": local, "peers": peers}[what](tables, given["minion_id"])


def local(tables: Tables, name: str) -> dict[str, Any]:
    """Time the check of this node alone, and three D-Bus round trips."""
    apply.apply(tables, Role.SERVER)
    with Bus() as bus:
        call = Call("getPolicySettings", "policy", "s", (ROWS,))
        trips = [timed(lambda: [bus.call(call) for _trip in range(3)]) for _run in range(RUNS)]
    checks = [
        timed(lambda: check_ports(tables, Role.SERVER, name, count=0)) for _run in range(RUNS)
    ]
    return {"trips": statistics.median(trips), "check": statistics.median(checks)}


def peers(tables: Tables, name: str) -> dict[str, Any]:
    """Time the whole check, including packets to every peer."""
    apply.apply(tables, Role.SERVER)
    began = time.perf_counter()
    found = check_ports(tables, Role.SERVER, name, count=None)
    statuses = Counter(check.status.value for check in found.checks)
    return {"seconds": time.perf_counter() - began, "statuses": statuses}


def many(tables: Tables, name: str, parsed: float, before: float) -> dict[str, Any]:
    """Time everything that a check of very many peers does, except for this node's firewalld.

    parsed, before
        The processor time of reading the pillar, and the peak memory before it.
    """
    began, spent = time.perf_counter(), time.process_time()
    compute_desired(tables, Role.SERVER)
    own = next(node for node in tables.nodes if node.name == name)
    others = [node for node in tables.nodes if node.name != name]
    asked = questions(tables, own, others, None, EVERYTHING, 0)
    modelled, planned = parsed + time.process_time() - spent, peak() - before
    answers = ask([each.question for each in asked])
    sight = ProbeContext(own, alive(asked, answers))
    checks = [judge_answer(each, answer, sight) for each, answer in zip(asked, answers)]
    Report(tuple(checks), "all").as_dict(full=True)
    return {
        "model": modelled,
        "asked": len(asked),
        "seconds": time.perf_counter() - began,
        "statuses": Counter(check.status.value for check in checks),
        "planned": planned,
        "mebibytes": peak(),
    }


def peak() -> float:
    """The most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(action: Any) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    json.dump(main(sys.argv[1]), sys.stdout)
