"""Salt offers every public function of a module, so what the modules import must not be public."""

from __future__ import annotations

import inspect

import pytest

from _modules import k3sfw as module
from _runners import k3sfw as runner
from _states import k3sfw as state

FUNCTIONS = {
    *("role", "nodes", "rows", "plan", "apply", "confirm", "rollback", "history", "prepare"),
    *("remove", "heal", "adopt", "status", "explain", "script", "metrics"),
    *("check", "check_ports", "check_routes", "check_zones", "in_force", "ask"),
    "connections",
}
ON_MASTER = {"check", "diff", "explain", "reach", "report", "tables", "test", "who"}
STATES = {
    *("managed", "prepared", "absent", "ports_checked", "routes_checked"),
    *("metrics_managed", "metrics_absent"),
}


@pytest.mark.parametrize(
    ("loaded", "documented"), [(module, FUNCTIONS), (runner, ON_MASTER), (state, STATES)]
)
def test_exactly_the_documented_functions_are_offered(loaded, documented):
    offered = {name for name, each in vars(loaded).items() if inspect.isfunction(each)}
    assert {name for name in offered if not name.startswith("_")} == documented
