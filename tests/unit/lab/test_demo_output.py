"""What the demo prints fits a narrow terminal, and what it shows as a command can be typed."""

import subprocess

import pytest

from lab import demo_output
from lab.demo_steps import PACKETS, PARTS, Expected

COMMANDS = [
    ["lab/on", step.host, *step.command] for part in PARTS for step in part.steps if step.command
]
REPORT = {
    "status": "FAIL",
    "summary": "7 of 8 checks ok, 1 blocked (4 of 4 peers probed)",
    "problems": [
        "blocked tcp/6443 a1 -> s1 (192.0.2.11): rejected by s1 itself (firewalld), as it is said "
        "here at some length. Fix: salt s1 state.apply k3s.firewall"
    ],
}


@pytest.fixture(autouse=True, params=[80, 60])
def columns(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[2])
def test_a_shell_reads_a_command_as_the_demo_runs_it(words, columns, capsys):
    demo_output.command(words)
    shown = capsys.readouterr().out.strip()
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.startswith("# ")
    typed = ["sh", "-c", f"printf '%s\\0' {shown[2:]}"]
    read = subprocess.run(typed, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]
    # A rule of firewalld may have more spaces between its words.
    assert [word.split() for word in read] == [word.split() for word in words]


def test_a_report_fits_the_terminal_and_its_fix_stands_alone(columns, capsys):
    assert demo_output.answers({"a1": REPORT}) == REPORT["problems"]
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[-1].strip() == "Fix: salt s1 state.apply k3s.firewall"


@pytest.mark.parametrize("check", ["check_ports", "check_routes", "check_zones"])
def test_each_check_must_be_ok_on_all_nodes(check):
    (step,) = [
        step
        for part in PARTS
        for step in part.steps
        if step.command == ("salt", "*", f"k3sfw.{check}")
    ]
    assert step.expected is Expected.GOOD
    ok = {"status": "OK", "summary": "", "problems": []}
    assert demo_output.is_good(ok)
    assert not demo_output.is_good({**ok, "status": "WARN"})


def test_packets_are_shown_of_both_signs():
    assert {packet.is_allowed for packet in PACKETS} == {True, False}


def test_a_fix_is_typed_right_after_the_problem_that_names_it():
    steps = [step for part in PARTS for step in part.steps]
    (at,) = [number for number, step in enumerate(steps) if step.types_fix]
    assert steps[at - 1].expected is Expected.BAD
    assert steps[at + 1].command == steps[at - 1].command
    assert steps[at + 1].expected is Expected.GOOD
