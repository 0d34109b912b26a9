"""The text of answers: what stands in it, how wide it is, and what a minion cannot do with it."""

from __future__ import annotations

import pytest

from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from tests.simulated_fleet import Fault, simulated_fleet

PLAIN, COLORED = Style(), Style(color=True)


def report(status="OK", problems=()):
    return {"status": status, "summary": "1 of 1 checks ok", "problems": list(problems)}


def test_the_worst_node_comes_first():
    text = render({"a1": report(), "a2": report("FAIL"), "s1": report("WARN")}, PLAIN)
    assert [line.partition(":")[0] for line in text.splitlines()] == ["a2", "s1", "a1"]


def test_every_line_but_a_fix_fits_into_80_columns():
    long = "blocked tcp/6443 a1 -> s1: " + "because of this and that " * 9
    text = render({"a1": report("FAIL", [f"{long}. Fix: {'x' * 99}"])}, PLAIN)
    assert [line for line in text.splitlines() if len(line) > 80] == [f"    Fix: {'x' * 99}"]


def test_colours_change_no_word():
    answers = {"a1": report("FAIL", ["blocked: it is. Fix: salt a1 test.ping"])}
    text = render(answers, COLORED)
    assert "\033[31mFAIL\033[0m" in text
    for code in ("31", "1", "0"):
        text = text.replace(f"\033[{code}m", "")
    assert text == render(answers, PLAIN)


@pytest.mark.parametrize("style", [PLAIN, COLORED])
def test_a_minion_cannot_control_the_terminal(style):
    hostile = "\033[2J\033]0;title\a\r\x9b2J"
    text = render({hostile: report("FAIL", [f"{hostile} is here. Fix: {hostile}"])}, style)
    assert "\033[2J" not in text and "\a" not in text and "\r" not in text and "\x9b" not in text


def test_a_failure_of_the_master_names_every_reason():
    text = render({"view": "error", "problems": ["no pillar", "no nodes"]}, PLAIN)
    assert [line for line in text.splitlines() if line.startswith("- ")] == [
        "- no pillar",
        "- no nodes",
    ]


def test_what_a_node_answers_to_the_master_can_be_read_as_well():
    cluster = simulated_fleet(5, [Fault("rejects", "s1", "6443")])
    text = render({name: each.as_dict() for name, each in cluster.answers.items()}, PLAIN)
    assert text.splitlines()[0].startswith("a1 ports: FAIL ")
    assert "    Fix: salt s1 state.apply k3s.firewall" in text
    assert "a1 zones: OK" in text


@pytest.mark.parametrize("answer", [True, None, {}, {"a1": True}, {"view": ["x"]}, [report()]])
def test_other_answers_are_left_to_salt(answer):
    assert render(answer, PLAIN) is None
