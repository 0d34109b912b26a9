"""The states that the page shows, each with a sign, a name and a colour of page.css. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from k3sfw_engine.checks.verdicts import Severity, Status
from k3sfw_engine.fleet.answers import CELLS, Cell


@dataclass(frozen=True)
class Sign:
    """How a state is shown.

    family
        The class in page.css that gives its colours.
    says
        The state in a sentence about a pair of nodes.
    """

    family: str
    glyph: str
    name: str
    is_problem: bool = False
    says: str = ""


BLOCKED = Sign("blocked", "✕", "blocked or lost", is_problem=True)
EXPOSED = Sign("exposed", "!", "exposed", is_problem=True)
CONFLICT = Sign("conflict", "≠", "conflict", is_problem=True)
UNPROVEN = Sign("unproven", "?", "unproven, or nothing listens", is_problem=True)
OK = Sign("ok", "·", "as it must be")
NEVER = Sign("never", "", "never asked", says="never asked")
UNTOLD = Sign("untold", "…", "not told", says="asked before or never, which the node did not say")
# Of one row: a proof of the pair does not say at which rows it was asked.
UNASKED = Sign("unasked", "", "not asked now", says="not asked now at this row")
OWN = Sign("self", "–", "the node itself", says="the node itself")
SILENT = Sign("silent", "", "silent node", says="not known, as the node is silent")

# What is not in an answer has a character that is not one of its cells.
NEVER_CODE, UNTOLD_CODE, UNASKED_CODE, OWN_CODE, SILENT_CODE = ".", "~", ":", "@", "/"
# The age of a proof in seconds, the youngest first.
EARLIER: Mapping[str, tuple[float, Sign]] = {
    "+": (3600, Sign("earlier1", "∘", "asked within the hour", says="asked within the hour")),
    "-": (86400, Sign("earlier2", "○", "asked within a day", says="asked within a day")),
    "=": (float("inf"), Sign("earlier3", "◌", "asked earlier", says="asked more than a day ago")),
}

_OTHERS = {
    Status.OK: OK,
    Status.EXPOSED: EXPOSED,
    Status.CONFLICT: CONFLICT,
    Status.UNPROVEN: UNPROVEN,
    Status.NO_LISTENER: UNPROVEN,
    Status.ERROR: UNPROVEN,
}


def sign_of_status(status: Status) -> Sign:
    """Return the sign of a status, with its own word as the name."""
    sign = _OTHERS.get(status, BLOCKED)
    return Sign(sign.family, sign.glyph, status.value.replace("_", " "), sign.is_problem)


def sign_of_cell(cell: Cell) -> Sign:
    """Return the sign of what one node got from another."""
    sign = _OTHERS.get(cell.status, BLOCKED)
    wanted = "open" if cell.is_open else "closed"
    says = f"{wanted}, as it must be"
    if cell.status is not Status.OK:
        says = f"{cell.status.value.replace('_', ' ')}, and must be {wanted}"
    return Sign(sign.family, sign.glyph, sign.name, sign.is_problem, says)


# Every character that a pair can have, in the order of the legend.
PAIR_SIGNS: Mapping[str, Sign] = {
    **{code: sign_of_cell(cell) for code, cell in CELLS.items()},
    **{code: sign for code, (_age, sign) in EARLIER.items()},
    NEVER_CODE: NEVER,
    UNTOLD_CODE: UNTOLD,
    UNASKED_CODE: UNASKED,
    OWN_CODE: OWN,
    SILENT_CODE: SILENT,
}
LEGEND = (
    (OK, BLOCKED, EXPOSED, CONFLICT, UNPROVEN)
    + tuple(sign for _age, sign in EARLIER.values())
    + (NEVER, UNTOLD, UNASKED, SILENT, OWN)
)

SEVERITIES: Mapping[Severity, Sign] = {
    Severity.OK: Sign("good", "✓", "OK"),
    Severity.WARN: Sign("warn", "!", "Warning"),
    Severity.UNKNOWN: Sign("unsure", "?", "Not known"),
    Severity.FAIL: Sign("bad", "✕", "Failure"),
}
PROMISES: Mapping[str, Sign] = {
    "broken": Sign("blocked", "✕", "broken", is_problem=True),
    "not enforceable": Sign("conflict", "≠", "not enforceable", is_problem=True),
    "unproven": Sign("unproven", "?", "unproven"),
    "kept": Sign("ok", "✓", "kept"),
}
ACCESS: Mapping[str, Sign] = {
    "open": Sign("ok", "·", "open"),
    "closed": Sign("closed", "×", "not in the tables"),
    "part": Sign("earlier2", "~", "part of it"),
    "redirected": Sign("conflict", ">", "redirected by Kubernetes"),
}
# The colour of the sign in a browser's tab.
ICONS: Mapping[str, str] = {
    "good": "009e73",
    "warn": "e69f00",
    "unsure": "56b4e9",
    "bad": "d55e00",
}
