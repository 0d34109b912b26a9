"""The outcomes that were ever measured, one for each cell: ``outcomes.json`` beside this file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_name("outcomes.json")


@dataclass(frozen=True)
class Outcome:
    """What the tests of a cell showed, and when; or why they could not run."""

    versions: dict[str, str]
    what: str
    # The day, as in 2026-11-29, and the version of k3sfw.
    day: str
    version: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: int = 0
    # The names of the tests that failed.
    failures: tuple[str, ...] = ()
    # Why nothing ran: what could not be had here.
    not_run: str = ""

    @property
    def holds(self) -> bool:
        """Whether something was tried and nothing failed."""
        return self.passed > 0 and not self.failed and not self.not_run


def read() -> dict[str, Outcome]:
    """Return the outcomes by the key of their cell."""
    if not FILE.exists():
        return {}
    read = json.loads(FILE.read_text())
    return {
        key: Outcome(**{**values, "failures": tuple(values["failures"])})
        for key, values in read.items()
    }


def with_outcome(outcomes: dict[str, Outcome], key: str, outcome: Outcome) -> dict[str, Outcome]:
    """Add an outcome. What was measured elsewhere stays where this machine lacks what it needs."""
    measured = key in outcomes and not outcomes[key].not_run
    return outcomes if outcome.not_run and measured else {**outcomes, key: outcome}


def write(outcomes: dict[str, Outcome]) -> None:
    """Write the outcomes, sorted, so that a run changes only the lines of its own cells."""
    tree = {key: asdict(outcome) for key, outcome in sorted(outcomes.items())}
    FILE.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
