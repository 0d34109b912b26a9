"""Run inside a host: one call of the engine, its input and its answer as JSON.

``engine_driver.py FUNCTION < {"pillar": …, "minion_id": …, "role": …, "options": {…}}``
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

from k3sfw_engine import transaction
from k3sfw_engine.desired import desired
from k3sfw_engine.errors import EngineError
from k3sfw_engine.inspection import inspect_ports
from k3sfw_engine.rows import Role
from k3sfw_engine.script import script
from k3sfw_engine.tables import parse_tables
from k3sfw_engine.verdicts import report


def main(function):
    given = json.load(sys.stdin)
    options = given.get("options", {})
    if function == "remove":
        return _outcome(transaction.remove(**options))
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
    return _outcome(getattr(transaction, function)(tables, role, **options))


def _outcome(outcome):
    return {"changes": outcome.changes, "reloads": outcome.reloads, "notices": outcome.notices}


try:
    answer = main(sys.argv[1])
except EngineError as error:
    answer = {"refused": list(error.sentences)}
print(json.dumps(answer))
