"""The Markdown of a difference, as it is pasted to a pull request: a table row for each change."""

from __future__ import annotations

import re

from k3sfw_engine.fleet.forms.markdown import difference_as_markdown
from k3sfw_engine.fleet.promise_report import judge_tables, promises_as_plain
from k3sfw_engine.fleet.tables_difference import TablesDifference
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from tests.unit.samples import NODES, changed, parsed

HOSTILE = "a|b</td><img src=x onerror=alert(1)> [x](javascript:y) `z` @all\n# head"


def data_of(new, old=None):
    tables = parsed(new)
    return {
        "view": "diff",
        "old": "base",
        "new": "ref:main",
        "summary": "",
        **TablesDifference(parsed(old), tables).as_plain(),
        "promises": promises_as_plain(judge_tables(tables, "s1"), tables),
        "notes": [],
    }


def rows_of(text):
    return [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]


def test_each_change_is_a_row_of_five_cells():
    loki = {"protocol": "tcp", "port": 3100, "source": "clients", "destination": "agent"}
    tree = changed("ports:cluster:loki", loki, changed("ports:cluster:etcd:source", "Any"))
    text = difference_as_markdown(data_of(tree))
    rows = rows_of(text)
    assert len(rows) == 2
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert "the whole internet" in rows[0] and "row etcd: source server -> any" in rows[1]


def test_what_a_site_or_a_minion_writes_stays_text():
    nodes = {**NODES, "a9-x": {"role": "agent", "addresses": ["192.0.2.29"]}}
    data = data_of(changed("nodes", nodes))
    for change in data["opened"]:
        change["from"] = [HOSTILE]
        change["causes"] = [{"path": "", "text": HOSTILE}]
    text = difference_as_markdown({**data, "notes": [HOSTILE], "old": HOSTILE})
    rows = rows_of(text)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert not re.search(r"(?<!\\)[<`@]|\n# ", text)
    assert not re.search(r"(?<!\\)\]\(", text)


def test_the_form_is_chosen_by_the_answer_itself():
    data = {**data_of(None), "form": "md"}
    assert render(data, Style()) == difference_as_markdown(data)
    assert "exactly the same" in render(data, Style())
