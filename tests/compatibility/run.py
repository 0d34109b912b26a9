"""Run the tests of a cell in a pytest of their own, and count what passed."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped

from k3sfw_engine import __version__
from tests.compatibility.cell import COLUMNS, Cell, NotHere, Prepared
from tests.compatibility.record import Outcome
from tests.paths import ROOT

# What cells install is kept here between runs, inside the environment of the tests.
KEPT = Path(sys.prefix).resolve() / "matrix"


def prove(cell: Cell) -> Outcome:
    """Prepare the cell, run its tests, and return what they showed."""
    began = time.monotonic()
    KEPT.mkdir(exist_ok=True)
    try:
        prepared = cell.prepare(KEPT)
    except NotHere as reason:
        return _outcome(cell, Prepared(), began, not_run=str(reason))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            _command(cell, report),
            cwd=ROOT,
            env={**_environment(), **prepared.environment},
            check=False,
        )
        if not report.exists():
            return _outcome(cell, prepared, began, not_run="pytest did not come to an end")
        return _outcome(cell, prepared, began, **_counted(report))


def _environment() -> dict[str, str]:
    # Of this module's own start; pytest finds the engine by its configuration.
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _command(cell: Cell, report: Path) -> list[str]:
    shared = ["-n", str(cell.processes)] if cell.processes else []
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    return [sys.executable, "-m", "pytest", *options, *shared, *cell.tests]


def _counted(report: Path) -> dict[str, object]:
    passed, skipped, failures = 0, 0, []
    for suite in JUnitXml.fromfile(str(report)):
        for case in suite:
            if any(isinstance(result, (Failure, Error)) for result in case.result):
                failures.append(f"{case.classname}::{case.name}")
            elif any(isinstance(result, Skipped) for result in case.result):
                skipped += 1
            else:
                passed += 1
    return {
        "passed": passed,
        "skipped": skipped,
        "failed": len(failures),
        "failures": tuple(sorted(failures)),
    }


def _outcome(cell: Cell, prepared: Prepared, began: float, **counted) -> Outcome:
    asked = {column: getattr(cell, column) for column in COLUMNS if getattr(cell, column)}
    return Outcome(
        versions={**asked, **prepared.versions},
        what=cell.what,
        day=datetime.date.today().isoformat(),
        version=__version__,
        seconds=round(time.monotonic() - began),
        **counted,
    )
