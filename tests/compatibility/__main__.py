"""Run the matrix, or the cells whose keys match: ``python -m tests.compatibility [PATTERN …]``."""

from __future__ import annotations

import sys
from fnmatch import fnmatch

from tests.compatibility import catalogue, record, run, table


def main(patterns: list[str]) -> int:
    """Prove each cell, and write record and page after each, so that a stop loses none."""
    chosen = [
        cell
        for cell in catalogue.cells()
        if not patterns or any(fnmatch(cell.key, pattern) for pattern in patterns)
    ]
    if not chosen:
        print(f"No cell matches {' '.join(patterns)}. Fix: choose one of:", file=sys.stderr)
        print("\n".join(cell.key for cell in catalogue.cells()), file=sys.stderr)
        return 2
    failed = []
    for cell in chosen:
        print(f"\n{cell.key}: {cell.what}", flush=True)
        outcome = run.prove(cell)
        # Read anew: other cells may have been proven meanwhile.
        record.write(record.with_outcome(record.read(), cell.key, outcome))
        table.write(catalogue.cells(), record.read())
        if outcome.failed:
            failed.append(cell.key)
        print(
            f"{cell.key}: {outcome.not_run or f'{outcome.passed} passed, {outcome.failed} failed'}"
        )
    if failed:
        print(f"\nFailed: {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
