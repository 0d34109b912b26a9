"""The reach and the promises of a large cluster: both are computed at every apply."""

from __future__ import annotations

import time
from typing import Any

from k3sfw_engine.model.rows import Tables
from k3sfw_engine.plan.promises import judge_promises
from k3sfw_engine.plan.reach import compute_reach
from k3sfw_engine.port_tables.read_pillar import parse_tables

SIZES = (100, 1000, 5000)
ROWS = 60
PROMISES = 50
TOO_LONG = 1.0  # seconds, for a thousand nodes


def tables_of(nodes: int) -> Tables:
    """Return tables with this many nodes of both families, with many rows and many promises."""
    return parse_tables(pillar_of(nodes), minion_id="n0", role="server")


def pillar_of(nodes: int) -> dict[str, Any]:
    """Return the pillar of a cluster, one node of a hundred a server."""
    rows = {
        f"row{number}": {
            "protocol": "tcp",
            "port": f"{8000 + 20 * number}-{8030 + 20 * number}",
            "source": [["any"], ["server"], ["agent", "admins"], ["clients"]][number % 4],
            "destination": ["any", "server", "agent"][number % 3],
        }
        for number in range(ROWS)
    }
    tests = {
        f"test{number}": {
            "from": "anyone",
            "except": ["any", "pods", "services", "admins"],
            "to": ["any", "server", "agent"][number % 3],
            "deny": [f"tcp/{8000 + 20 * number}-{8100 + 20 * number}", "udp/8472"],
        }
        for number in range(PROMISES)
    }
    pods = {"protocol": "any", "source": ["pods", "services"], "destination": "any"}
    return {
        "ports": {"cluster": {"pods": pods, **rows}, "manager": {}},
        "groups": {"admins": [f"198.51.100.{host}" for host in range(0, 250, 2)]},
        "tests": tests,
        "nodes": {
            f"n{number}": {
                "role": "agent" if number % 100 else "server",
                "addresses": [
                    f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}",
                    f"2001:db8::{number + 1:x}",
                ],
            }
            for number in range(nodes)
        },
    }


def main() -> None:
    """Print how long both take, and their growth."""
    print(f"Reach and {PROMISES} promises, {ROWS} rows")
    print("  nodes     reach  promises")
    for size in SIZES:
        tables = tables_of(size)
        began = time.perf_counter()
        reach = compute_reach(tables)
        computed = time.perf_counter()
        verdicts = judge_promises(tables, reach)
        judged = time.perf_counter()
        assert any(verdict.parts for verdict in verdicts)
        print(f"{size:7} {computed - began:8.2f}s {judged - computed:8.2f}s")
        if size == 1000 and judged - began > TOO_LONG:
            print(f"  more than {TOO_LONG:g} s")


if __name__ == "__main__":
    main()
