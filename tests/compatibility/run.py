"""Run the tests of a cell in a pytest of their own, and count what passed."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped

from k3sfw_engine import __version__
from tests.compatibility.cell import COLUMNS, Cell, NotHere, Prepared
from tests.compatibility.record import Outcome
from tests.paths import ROOT

# All passed, or some failed. It was stopped, was used wrongly or found no tests otherwise.
_CAME_TO_AN_END = (0, 1)

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
    except Exception:
        # The other cells can still be proven.
        traceback.print_exc()
        return _outcome(cell, Prepared(), began, failed=1, failures=("its preparation",))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            _command(cell, report),
            cwd=ROOT,
            env={**_environment(), **prepared.environment},
            check=False,
        )
        return _outcome(cell, prepared, began, **counted(report, done.returncode))


def _environment() -> dict[str, str]:
    """Without what chooses tests, or what they meet: only the cell does that."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("K3SFW_") and name not in ("PYTEST_ADDOPTS", "PYTHONPATH")
    }


def _command(cell: Cell, report: Path) -> list[str]:
    shared = ["-n", str(cell.processes)] if cell.processes else []
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    return [sys.executable, "-m", "pytest", *options, *shared, *cell.tests]


def counted(report: Path, code: int) -> dict[str, object]:
    """Count what pytest reported; an end before all tests were through is a failure, too."""
    passed, skipped, failures = 0, 0, []
    if code not in _CAME_TO_AN_END:
        failures.append(f"pytest ended with {code}")
    for suite in JUnitXml.fromfile(str(report)) if report.exists() else ():
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
