"""The measurements as plain data for a file, and back.

Pure: the text comes in as an argument, and one that is not as written is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from k3sfw_engine.checks.metrics.measurements import LatestRun, Measurements
from k3sfw_engine.checks.verdicts import Status

FORMAT = 1
_STATUSES = {status.value: status for status in Status}


def write_saved_form(known: Measurements) -> str:
    """Return the text of the file; the same measurements give the same text."""
    tree = {
        "format": FORMAT,
        "runs": {
            name: {
                "at": run.at,
                "succeeded_at": run.succeeded_at,
                "took": run.took,
                "counts": {status.value: number for status, number in run.counts.items()},
            }
            for name, run in known.runs.items()
        },
        "digest": known.digest,
        "in_step": dict(known.in_step),
        "tests": dict(known.tests),
        "known_since": dict(known.known_since),
        "folder": known.folder,
        "interval": known.interval,
    }
    return json.dumps(tree, sort_keys=True)


def read_saved_form(text: str) -> Measurements:
    """Read the text of the file.

    Raises ``ValueError`` if it is not as :py:func:`write_saved_form` writes it.
    """
    try:
        tree = json.loads(text)
        if not isinstance(tree, dict) or tree["format"] != FORMAT:
            raise ValueError("another format")
        return Measurements(
            runs={str(name): _run(run) for name, run in _map(tree["runs"]).items()},
            digest=_text(tree["digest"]),
            in_step={str(name): _flag(value) for name, value in _map(tree["in_step"]).items()},
            tests={str(name): int(_number(value)) for name, value in _map(tree["tests"]).items()},
            known_since={str(name): _number(at) for name, at in _map(tree["known_since"]).items()},
            folder=_text(tree["folder"]),
            interval=int(_number(tree["interval"])),
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _run(value: object) -> LatestRun:
    run = _map(value)
    return LatestRun(
        at=_number(run["at"]),
        succeeded_at=_number(run["succeeded_at"]),
        took=_number(run["took"]),
        counts={_STATUSES[name]: int(_number(each)) for name, each in _map(run["counts"]).items()},
    )


def _map(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not a map")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _flag(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("not a number")
    return float(value)
