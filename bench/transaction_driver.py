"""Runs inside a host: times applies, and the part of each that changes the firewall, as JSON.

``transaction_driver.py < {"pillars": [[name, pillar], …]}``: one apply for each, in this order.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))

from k3sfw_engine.commands import apply
from k3sfw_engine.model.rows import Role
from k3sfw_engine.port_tables.read_pillar import parse_tables
from k3sfw_engine.transaction import execute_plan, make_permanent, run

# A run without a transaction would call these functions as well, and nothing else.
NEEDED_ANYWAY = (
    "check_permanent",
    "execute",
    "keep_iptables",
    "observe",
    "observe_again",
    "put_back",
    "put_back_iptables",
    "put_files",
    "read_again",
    "read_foreign_runtime",
)


def main() -> list[dict[str, Any]]:
    """Return the milliseconds of each apply, in whole and without the transaction."""
    bare: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                bare.append((time.perf_counter() - began) * 1000)

        return run

    for name in NEEDED_ANYWAY:
        setattr(execute_plan, name, timed(getattr(execute_plan, name)))
    make_permanent.put_files = timed(make_permanent.put_files)
    run.observe = timed(run.observe)
    found = []
    for name, pillar in json.load(sys.stdin)["pillars"]:
        tables = parse_tables(pillar, minion_id="s1", role="server")
        bare.clear()
        began = time.perf_counter()
        apply.apply(tables, Role.SERVER)
        whole = (time.perf_counter() - began) * 1000
        found.append({"name": name, "whole": whole, "bare": sum(bare)})
    return found


print(json.dumps(main()))
