"""The difference of two large clusters' tables, and the questions about one of them."""

from __future__ import annotations

import time
from dataclasses import replace

from bench.reach import ROWS, pillar_of
from k3sfw_engine.fleet.asked_of_tables import nodes_named, parse_asked_ports
from k3sfw_engine.fleet.role_matrix import role_matrix
from k3sfw_engine.fleet.tables_difference import TablesDifference
from k3sfw_engine.fleet.who_reaches import who_reaches
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.port_tables.read_pillar import parse_tables

SIZES = (100, 1000, 5000)
TOO_LONG = 2.0  # seconds, for a thousand nodes


def changed(nodes: int) -> Tables:
    """Return tables of which a node left, some rows and a group changed."""
    pillar = pillar_of(nodes)
    del pillar["nodes"][f"n{nodes - 1}"]
    rows = pillar["ports"]["cluster"]
    for number in range(0, ROWS, 7):
        rows[f"row{number}"]["source"] = ["agent", "clients"][number % 2]
    del rows["row5"]
    pillar["groups"]["admins"] = pillar["groups"]["admins"][1:]
    return parse_tables(pillar, minion_id="n0", role="server")


def main() -> None:
    """Print how long each takes, and their growth."""
    print(f"Difference of two pillars, {ROWS} rows")
    print("  nodes  difference  matrix   who reaches")
    for size in SIZES:
        old = parse_tables(pillar_of(size), minion_id="n0", role="server")
        new = changed(size)
        began = time.perf_counter()
        plain = TablesDifference(old, new).as_plain()
        compared = time.perf_counter()
        role_matrix(replace(new))
        shown = time.perf_counter()
        who_reaches(new, nodes_named("any", new), parse_asked_ports("8000-9000"), {})
        asked = time.perf_counter()
        assert plain["opened"] and plain["closed"]
        times = (compared - began, shown - compared, asked - shown)
        print(f"{size:7} " + " ".join(f"{each:9.2f}s" for each in times))
        if size == 1000 and compared - began > TOO_LONG:
            print(f"  more than {TOO_LONG:g} s")


if __name__ == "__main__":
    main()
