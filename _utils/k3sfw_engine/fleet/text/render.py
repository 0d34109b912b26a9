"""The text of any answer: the view is what the answer says it is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from k3sfw_engine.fleet.forms.markdown import difference_as_markdown
from k3sfw_engine.fleet.text.check_lines import show_check
from k3sfw_engine.fleet.text.difference_lines import show_diff
from k3sfw_engine.fleet.text.failure import show_failure
from k3sfw_engine.fleet.text.node_reports import (
    is_checked_node,
    is_report,
    show_checked_nodes,
    show_reports,
)
from k3sfw_engine.fleet.text.opening_lines import show_reach, show_who
from k3sfw_engine.fleet.text.packet_way import is_walk, show_explanation, show_walks
from k3sfw_engine.fleet.text.promise_lines import show_test
from k3sfw_engine.fleet.text.report_written import show_report
from k3sfw_engine.fleet.text.role_table import show_tables
from k3sfw_engine.fleet.text.style import Color, Style, clean

# By ``view`` in what a function of the master returns.
VIEWS: Mapping[str, Callable[[Mapping[str, Any], Style], str]] = {
    "check": show_check,
    "error": show_failure,
    "explain": show_explanation,
    "diff": show_diff,
    "reach": show_reach,
    "report": show_report,
    "tables": show_tables,
    "test": show_test,
    "who": show_who,
}


def render(answer: object, style: Style) -> str | None:
    """Return the text of an answer, or ``None`` if it is not one of k3sfw's.

    answer
        The ``data`` of a function of the master, or what ``salt`` got from minions, by their ids.
    """
    if not isinstance(answer, Mapping):
        return None
    if answer.get("view") == "diff" and answer.get("form") == "md":
        return difference_as_markdown(answer)
    view = VIEWS.get(answer.get("view", "")) if isinstance(answer.get("view", ""), str) else None
    if view is not None:
        return view(answer, style)
    progress = answer.get("event") if answer.get("suffix") == "progress" else None
    if isinstance(progress, Mapping) and isinstance(progress.get("message"), str):
        return style.paint(clean(progress["message"]), Color.FAINT)
    if answer and all(map(is_checked_node, answer.values())):
        return show_checked_nodes(answer, style)
    if answer and all(map(is_report, answer.values())):
        return show_reports(answer, style)
    if answer and all(map(is_walk, answer.values())):
        return show_walks(answer, style)
    return None
