"""Write docs/compatibility.md from the catalogue and the record. Pure but for the writing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.compatibility.catalogue import GROUPS
from tests.compatibility.cell import COLUMNS, Cell
from tests.compatibility.record import Outcome
from tests.paths import ROOT

PAGE = ROOT / "docs/compatibility.md"
_BEGIN = """\
# Compatibility

What k3sfw was tried with. `make matrix` runs it again and writes this page; `CELLS='firewalld-2.*'`
runs a part. A cell is ✅ only if its tests ran and all passed; ❌ says how many failed; ⬜ was not
run, and says why. What ran has the versions that were found, the rest those that are asked for.
Without a firewalld in its row, a cell ran with the one of the machine: 1.3.3 of Debian 12, with the
nftables backend.
"""


def render(cells: Iterable[Cell], outcomes: Mapping[str, Outcome]) -> str:
    """Return the page: a table for each chapter, with the columns in which its cells differ."""
    parts = [_BEGIN]
    by_group: dict[str, list[Cell]] = {}
    for cell in cells:
        by_group.setdefault(cell.group, []).append(cell)
    for group, members in by_group.items():
        parts.append(f"\n## {GROUPS[group]}\n\n{_table(members, outcomes)}")
    return "".join(parts)


def write(cells: Iterable[Cell], outcomes: Mapping[str, Outcome]) -> None:
    """Write the page."""
    PAGE.write_text(render(cells, outcomes))


def _table(cells: list[Cell], outcomes: Mapping[str, Outcome]) -> str:
    versions = {cell.key: _versions(cell, outcomes.get(cell.key)) for cell in cells}
    columns = [name for name in COLUMNS if any(versions[cell.key][name] for cell in cells)]
    head = ["cell", *columns, "what ran", "result", "when"]
    rows = [head, ["---"] * len(head)]
    for cell in cells:
        outcome = outcomes.get(cell.key)
        values = [versions[cell.key][name] for name in columns]
        # What ran then, which the cell may call otherwise now.
        what = outcome.what if outcome else cell.what
        rows.append([f"`{cell.key}`", *values, what, _result(outcome), _when(outcome)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _versions(cell: Cell, outcome: Outcome | None) -> dict[str, str]:
    found = outcome.versions if outcome else {}
    return {name: found.get(name) or getattr(cell, name) for name in COLUMNS}


def _result(outcome: Outcome | None) -> str:
    if outcome is None:
        return "⬜ not run yet"
    if outcome.holds:
        skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
        return f"✅ {outcome.passed} passed{skipped}"
    if outcome.failed:
        return f"❌ {outcome.failed} of {outcome.passed + outcome.failed} failed"
    return f"⬜ {outcome.not_run or 'nothing ran'}"


def _when(outcome: Outcome | None) -> str:
    ran = outcome is not None and not outcome.not_run
    return f"{outcome.day}, {outcome.version}, {outcome.seconds} s" if ran else ""
