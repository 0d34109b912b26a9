"""Write docs/benchmarks.md from the record. Pure but for the writing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.cases import CASES
from bench.record import Figures, Growth, Record
from bench.rules import CHECKOUT
from bench.tools import TOOLS

PAGE = CHECKOUT / "docs/benchmarks.md"
_OURS = "k3sfw"
_BEGIN = """\
# Benchmarks

What k3sfw costs, and what other ways cost that let the same packets in. `make bench` measures it
again and writes this page; `PARTS='k3sfw script'` measures a part, and `RUNS=1` each time once.

Each tool has hosts of its own, which are equal: a namespace with a real firewalld, fresh from its
package. **Time** is what a tool itself counts for the rules, without the start of Salt or Ansible;
**with its start** has that as well. Both are the median of several runs, with the fastest and the
slowest; a single figure is of something so slow that it was done once. **Reloads' time** is the
time divided by that of one `firewall-cmd --reload` in the same run, and **beside k3sfw** divides it
by ours.

A first run is not timed. In it, packets show that what should get in does, and nothing else; and
counted are the **processes** that were started, firewalld's included; the **calls** on D-Bus; the
**reloads**; and of new connections to a port that is open before and after, opened one after the
other by another host, how many were **lost**: their first packet was, so they failed or took a
second longer. **MiB** is the peak of the tool's largest process, and of firewalld. ⬜ has no
figures, and says why.
"""


def render(record: Record) -> str:
    """Return the page."""
    parts = [_BEGIN]
    for case in CASES:
        by_tool = {tool.key: record.tools.get(tool.key, {}).get(case.key) for tool in TOOLS}
        parts.append(f"\n## {case.title}\n\n{_case(by_tool)}")
    parts.append(f"\n## Growth with the nodes\n\n{_growth(record.growth)}")
    how = _table(["tool", "how the rules are applied"], [[each.name, each.how] for each in TOOLS])
    parts.append(f"\n## The tools\n\n{how}")
    parts.append(f"\n## Versions\n\n{_versions(record)}")
    return "".join(parts)


def write(record: Record) -> None:
    """Write the page."""
    PAGE.write_text(render(record))


def _case(by_tool: dict[str, Figures | None]) -> str:
    head = ["tool", "time", "with its start", "reloads' time", "beside k3sfw"]
    head += ["processes", "calls", "reloads", "lost", "MiB: tool, firewalld"]
    ours = by_tool[_OURS]
    names = {tool.key: tool.name for tool in TOOLS}
    rows = [[names[key], *_cells(each, ours, len(head) - 1)] for key, each in by_tool.items()]
    return _table(head, rows)


def _cells(each: Figures | None, ours: Figures | None, width: int) -> list[str]:
    if each is None or each.reason:
        reason = each.reason if each else "not measured yet"
        return [f"⬜ {' '.join(reason.replace('|', ' ').split())}", *[""] * (width - 1)]
    took = statistics.median(each.seconds)
    known = ours is not None and not ours.reason
    return [
        _time(each.seconds),
        _time(each.whole),
        f"{took / each.reload:.2f}",
        f"{took / statistics.median(ours.seconds):.1f}" if ours and known else "",
        str(each.processes),
        str(each.calls),
        str(each.reloads),
        f"{each.lost} of {each.connections:,}",
        f"{each.tool_mebibytes:.0f}, {each.firewalld_mebibytes:.0f}",
    ]


def _time(seconds: Sequence[float]) -> str:
    """The median, with the fastest and the slowest."""
    middle = _readable(statistics.median(seconds))
    if len(seconds) == 1:
        return middle
    return f"{middle} ({_readable(min(seconds))} – {_readable(max(seconds))})"


def _readable(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds * 1000:,.0f} ms"


def _growth(growth: Growth | None) -> str:
    if growth is None:
        return "⬜ not measured yet\n"
    sizes = sorted({nodes for by_nodes in growth.steps.values() for nodes in by_nodes})
    head = ["step", *(f"{nodes:,} nodes" for nodes in sizes), "growth"]
    rows = [
        [
            name,
            *(f"{by_nodes[nodes]:,.1f} ms" for nodes in sizes),
            f"{by_nodes[sizes[-1]] / by_nodes[sizes[-2]] * sizes[-2] / sizes[-1]:.2f}",
        ]
        for name, by_nodes in growth.steps.items()
    ]
    return f"""\
What a node and the master compute, in one process, without firewalld and packets. Growth is that of
the last two sizes beside the growth of the cluster: 1 is proportional.

{_table(head, rows)}"""


def _versions(record: Record) -> str:
    rows = []
    for tool in TOOLS:
        for each in _runs_of(list(record.tools.get(tool.key, {}).values())):
            rows.append([tool.name, *each])
    if record.growth:
        growth = record.growth
        rows.append(["growth", "", growth.version, f"{growth.cores} cores", growth.day])
    return _table(["what", "version", "k3sfw", "machine", "day"], rows)


def _runs_of(figures: Sequence[Figures]) -> list[tuple[str, str, str, str]]:
    """Most often all cases of a tool were measured in one run."""
    measured = [each for each in figures if each.seconds]
    return sorted({(each.tool, each.version, f"{each.cores} cores", each.day) for each in measured})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
