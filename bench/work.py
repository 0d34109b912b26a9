"""The work of a function as a count that is the same on every machine: lines of Python executed.

A time says how fast this machine was just now; a count says how the work grows with its input. Each
turn of a loop and of a comprehension executes a line. What C does in one call is one line, however
much it is: so ``Name``, which compares in Python, shows a name that is looked for in a list, and a
set that is made again for each of its members. A copy of a set hashes nothing and stays unseen: the
times of ``bench.fleet`` show that.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

# By function, as ``file:name``.
Work = Counter[str]
# Of a step's work; what a smaller part does is not told from chance.
WORTH_A_LOOK = 0.02


class Name(str):
    """A text that compares and hashes in Python, so that both are counted."""

    __slots__ = ()

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True


def work_of(function: Callable[[], object]) -> Work:
    """Call a function and count the lines that it and what it calls execute."""
    lines: dict[CodeType, int] = {}

    def line(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            lines[frame.f_code] = lines.get(frame.f_code, 0) + 1
        return line

    def call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return line

    before = sys.gettrace()
    sys.settrace(call)
    try:
        function()
    finally:
        sys.settrace(before)
    found: Work = Counter()
    for code, count in lines.items():
        found[f"{Path(code.co_filename).name}:{code.co_name}"] += count
    return found


def grown_beyond(small: Work, large: Work, most: float) -> dict[str, float]:
    """Return what grew more than so many times: functions, and the whole as ``all``."""
    whole = large.total()
    both = {
        **{name: (small[name], each) for name, each in large.items()},
        "all": (small.total(), whole),
    }
    grown = {
        name: after / max(before, 1)
        for name, (before, after) in both.items()
        if after >= WORTH_A_LOOK * whole
    }
    return {name: round(times, 1) for name, times in sorted(grown.items()) if times > most}
