"""Run inside a host: one call of the engine, its input and its answer as JSON.

``engine_driver.py FUNCTION < {"pillar": …, "minion_id": …, "role": …, "options": {…}}``
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

import netaddr

from k3sfw_engine import adopting, past_changes, recovery, shadow, transaction, zones
from k3sfw_engine.desired import desired
from k3sfw_engine.errors import EngineError
from k3sfw_engine.inspection import inspect_ports
from k3sfw_engine.proof import Proof
from k3sfw_engine.rows import Role
from k3sfw_engine.script import script
from k3sfw_engine.tables import parse_tables
from k3sfw_engine.undoable import Terms
from k3sfw_engine.verdicts import report
from k3sfw_engine.zone_facts import observe_zones


def main(function):
    given = json.load(sys.stdin)
    options = given.get("options", {})
    terms = Terms(what=function, confirm_within=options.pop("confirm_within", 0))
    if function == "remove":
        return _outcome(transaction.remove(terms=terms, **options))
    if function == "history":
        return past_changes.history()
    if function == "confirm":
        return _outcome(past_changes.confirm(Proof()))
    if function == "rollback":
        return _outcome(past_changes.rollback(options.pop("name", None), terms=terms, **options))
    if function == "try_out":
        contents = {
            Path(path): None if text is None else text.encode()
            for path, text in options.pop("contents", {}).items()
        }
        trial = shadow.try_out(contents, **options)
        return {"tried": trial.tried, "notices": trial.notices}
    if function == "heal":
        outcome = recovery.heal(**options)
        return {**_outcome(outcome), "notices": [*outcome.meaning, *outcome.notices]}
    tables = parse_tables(given["pillar"], minion_id=given["minion_id"], role=given["role"])
    role = Role(given["role"])
    if function == "compare":
        plan, _observed = transaction.compare(tables, role)
        return {"changes": plan.changes, "reloads": plan.reloads, "notices": plan.notices}
    if function == "script":
        return {"script": script(desired(tables, role).objects)}
    if function == "check_ports":
        found = inspect_ports(tables, role, given["minion_id"], count=0)
        return report(found.checks, scope=found.scope, full=True)
    if function == "check_zones":
        at, found = observe_zones(tables, given["minion_id"])
        checks = zones.judge(at, found, map(netaddr.IPAddress, options.get("masters", ())))
        interfaces = zones.interfaces(at, found)
        return {**report(checks, scope="", full=True), "interfaces": interfaces}
    if function == "adopt":
        return _outcome(adopting.adopt(tables, role, **options))
    if function == "apply":
        options["terms"] = terms
    return _outcome(getattr(transaction, function)(tables, role, **options))


def _outcome(outcome):
    return {"changes": outcome.changes, "reloads": outcome.reloads, "notices": outcome.notices}


try:
    answer = main(sys.argv[1])
except EngineError as error:
    answer = {"refused": list(error.sentences)}
print(json.dumps(answer))
