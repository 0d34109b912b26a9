"""The figures that were ever measured: ``figures.json`` beside this file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("figures.json")


@dataclass(frozen=True)
class Figures:
    """What one tool cost in one case, or why it was not measured.

    seconds, whole
        By run: what the tool counts for the rules, and the whole command with its start.
    reload
        The median of one ``firewall-cmd --reload``, in seconds, in the same run of the benchmark.
    tool, firewalld
        MiB at the peak, of the tool's largest process and of firewalld: the medians.
    """

    tool: str
    day: str
    version: str
    cores: int
    seconds: tuple[float, ...] = ()
    whole: tuple[float, ...] = ()
    reload: float = 0.0
    processes: int = 0
    calls: int = 0
    reloads: int = 0
    connections: int = 0
    lost: int = 0
    tool_mebibytes: float = 0.0
    firewalld_mebibytes: float = 0.0
    # Why figures are missing: it cannot be done, could not be had here, or took too long.
    reason: str = ""


@dataclass(frozen=True)
class Growth:
    """The milliseconds of each step of ``bench.fleet``, by the number of nodes."""

    day: str
    version: str
    cores: int
    steps: dict[str, dict[int, float]]


@dataclass(frozen=True)
class Record:
    """Everything measured: by tool and case, and the growth with the nodes."""

    tools: dict[str, dict[str, Figures]]
    growth: Growth | None = None


def read() -> Record:
    """Return what is recorded."""
    if not FILE.exists():
        return Record({})
    tree = json.loads(FILE.read_text())
    tools = {
        tool: {case: _figures(values) for case, values in cases.items()}
        for tool, cases in tree["tools"].items()
    }
    return Record(tools, _growth(tree["growth"]))


def write(record: Record) -> None:
    """Write it, sorted, so that a run changes only the lines of what it measured."""
    tools = {
        tool: {case: _plain(figures) for case, figures in sorted(cases.items())}
        for tool, cases in sorted(record.tools.items())
    }
    growth = asdict(record.growth) if record.growth else None
    tree = {"tools": tools, "growth": growth}
    FILE.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def with_figures(record: Record, tool: str, case: str, figures: Figures) -> Record:
    """Replace one cell. What was measured elsewhere stays where this machine lacks the tool."""
    cases = record.tools.get(tool, {})
    if figures.reason and case in cases and not cases[case].reason:
        return record
    return Record({**record.tools, tool: {**cases, case: figures}}, record.growth)


def _figures(values: dict[str, Any]) -> Figures:
    runs = {name: tuple(values[name]) for name in ("seconds", "whole")}
    return Figures(**{**values, **runs})


def _plain(figures: Figures) -> dict[str, Any]:
    plain = asdict(figures)
    for name in ("seconds", "whole"):
        plain[name] = [round(each, 4) for each in plain[name]]
    for name in ("reload", "tool_mebibytes", "firewalld_mebibytes"):
        plain[name] = round(plain[name], 4)
    return plain


def _growth(values: dict[str, Any] | None) -> Growth | None:
    if values is None:
        return None
    steps = {
        name: {int(nodes): each for nodes, each in by_nodes.items()}
        for name, by_nodes in values["steps"].items()
    }
    return Growth(**{**values, "steps": steps})
