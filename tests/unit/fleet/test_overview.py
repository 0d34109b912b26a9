"""The verdict on a whole cluster, its exit code and its text; coverage is always said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3sfw_engine.checks.verdicts import Severity
from k3sfw_engine.fleet.answers import PARTS, CheckedPart, NodePromise
from k3sfw_engine.fleet.overview import overview
from k3sfw_engine.fleet.page.messages import headline as page_headline
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from tests.simulated_fleet import Fault, simulated_fleet

REJECTS = Fault("rejects", "s1", "6443")


PLAIN = Style()


def text_of(cluster, style=PLAIN):
    data = {"view": "check", "written": [], **overview(cluster).as_dict()}
    return render(data, style)


def with_answer(cluster, name, **changes):
    answer = replace(cluster.answers[name], **changes)
    return replace(cluster, answers={**cluster.answers, name: answer})


@pytest.mark.parametrize(
    ("faults", "code", "status"),
    [
        ([], 0, "OK"),
        ([Fault("no_listener", "a1", "9500")], 1, "WARN"),
        ([REJECTS], 2, "FAIL"),
        ([Fault("silent", "a1")], 3, "UNKNOWN"),
        ([Fault("other_tables", "a1")], 1, "WARN"),
        # What was found to be wrong is wrong, whatever the silent node would say.
        ([REJECTS, Fault("silent", "a1")], 2, "FAIL"),
        ([Fault("no_listener", "a1", "9500"), Fault("silent", "a2")], 3, "UNKNOWN"),
    ],
)
def test_the_exit_code_is_that_of_the_worst_and_a_silent_node_is_never_ok(faults, code, status):
    found = overview(simulated_fleet(5, faults))
    assert (found.retcode, found.status.value) == (code, status)


def test_a_node_whose_version_is_not_the_masters_is_named_with_both():
    cluster = with_answer(simulated_fleet(5), "a1", version="99.0.0")
    found = overview(cluster)
    assert found.retcode == 0
    (notice,) = [each for each in found.notices if "saltutil.sync_all" in each.text]
    assert notice.nodes == ("a1",)
    assert "99.0.0" in notice.text and cluster.version in notice.text


def test_no_answer_at_all_is_unknown():
    silent = [Fault("silent", name) for name in ("a1", "a2", "s1", "s2", "s3")]
    found = overview(simulated_fleet(5, silent))
    assert (found.retcode, found.coverage.answered) == (3, 0)


@pytest.mark.parametrize(
    ("cluster", "text"),
    [
        (simulated_fleet(5), "5 of 5 nodes answered: nothing is wrong."),
        (
            simulated_fleet(5, [Fault("silent", "a1")]),
            "4 of 5 nodes answered: no problem found there.",
        ),
        (
            simulated_fleet(2, [Fault("silent", "s1"), Fault("silent", "s2")]),
            "0 of 2 nodes answered: nothing is known.",
        ),
        (
            simulated_fleet(5, [Fault("other_tables", "a1")]),
            "5 of 5 nodes answered: nodes were told different tables.",
        ),
        (
            simulated_fleet(5, peers=0),
            "5 of 5 nodes answered: no problem found, and no packet was sent.",
        ),
        (simulated_fleet(1), "1 of 1 node answered: nothing is wrong."),
        (
            with_answer(
                simulated_fleet(5), "a1", promises={"etcd": NodePromise("not enforceable")}
            ),
            "5 of 5 nodes answered: 1 of 2 promises not enforceable.",
        ),
        (
            with_answer(
                simulated_fleet(5),
                "a1",
                parts=dict.fromkeys(PARTS, CheckedPart(Severity.FAIL, "", left_off=3)),
            ),
            "5 of 5 nodes answered: checks found more than their nodes sent.",
        ),
    ],
)
def test_nothing_is_wrong_is_said_of_a_cluster_that_was_asked_and_is_ok(cluster, text):
    found = overview(cluster)
    assert found.headline == text
    said = "nothing is wrong" in f"{found.headline} {page_headline(found)}".lower()
    assert said is (text.endswith("nothing is wrong."))


def test_the_worst_value_of_a_promise_counts_and_breaks_the_check():
    cluster = simulated_fleet(5)
    broken = {"etcd_is_for_servers": NodePromise("broken", 2, ("a1 reaches tcp/2379 of s1",))}
    found = overview(with_answer(cluster, "s2", promises=broken))
    (promise,) = found.promises
    assert (promise.value, promise.nodes, found.retcode) == ("broken", ("s2",), 2)
    assert promise.packets == 4 * 4 + 2
    assert promise.parts == ("a1 reaches tcp/2379 of s1",)


def test_a_broken_promise_that_is_a_warning_is_a_warning():
    cluster = simulated_fleet(5)
    broken = {"etcd_is_for_servers": NodePromise("broken")}
    cluster = with_answer(cluster, "s2", promises=broken)
    tables = {**cluster.tables, "tests": {"etcd_is_for_servers": {"severity": "warn"}}}
    assert overview(replace(cluster, tables=tables)).retcode == 1


def test_a_check_that_was_not_possible_is_said_once_for_all_nodes():
    cluster = simulated_fleet(5)
    for name in ("a1", "s1"):
        part = CheckedPart(Severity.UNKNOWN, "nothing could be checked", notices=("no ip",))
        parts = {**cluster.answers[name].parts, "routes": part}
        cluster = with_answer(cluster, name, parts=parts)
    found = overview(cluster)
    assert [(each.text, each.nodes, each.part) for each in found.unchecked] == [
        ("no ip", ("a1", "s1"), "routes")
    ]
    assert (found.retcode, found.notices) == (3, ())


def test_nodes_with_other_tables_than_most_are_named():
    (problem,) = overview(simulated_fleet(5, [Fault("other_tables", "a2")])).differing
    assert problem.text == (
        "the pillar of a2 says something else (feedfeed) than that of 4 other nodes (c0ffee00)"
    )


def test_the_text_says_the_verdict_then_coverage_then_each_cause_with_its_fix():
    faults = [REJECTS, Fault("no_listener", "a1", "9500"), Fault("silent", "a2")]
    lines = text_of(simulated_fleet(5, faults)).splitlines()
    assert lines[:2] == [
        "FAIL 4 of 5 nodes answered: 1 problem, 1 warning.",
        "Asked 16 of 20 pairs now, all of the nodes that answered within 1 minute; 1 node",
    ]
    assert "     Fix: salt s1 state.apply k3s.firewall" in lines
    at = lines.index("Silent")
    assert lines[at + 1] == "  a2: it did not answer within 60 seconds"


def test_every_line_but_a_fix_fits_and_colours_change_no_word():
    faults = [
        Fault("no_entry", "a050", peer="a051"),
        *(Fault("rejects", f"a{number:03}", "9500") for number in range(1, 200)),
    ]
    plain = text_of(simulated_fleet(300, faults))
    assert {line[:10] for line in plain.splitlines() if len(line) > 80} == {"     Fix: "}
    colored = text_of(simulated_fleet(300, faults), Style(color=True))
    for code in ("31", "32", "33", "1", "2", "0"):
        colored = colored.replace(f"\033[{code}m", "")
    assert colored == plain


@pytest.mark.parametrize("hostile", ["\033[2J\a\r", "‮gnp.exe", "\x9b2J"])
def test_a_minion_cannot_control_the_terminal(hostile):
    cluster = simulated_fleet(5, [REJECTS])
    promises = {f"p{hostile}": NodePromise("broken", 1, (hostile,))}
    part = replace(cluster.answers["s1"].parts["ports"], notices=(f"notice {hostile}",))
    cluster = with_answer(
        cluster, "s1", promises=promises, parts={**cluster.answers["s1"].parts, "ports": part}
    )
    cluster = replace(cluster, silent={"a9": f"it answered {hostile}"})
    text = text_of(cluster, Style(color=True))
    for each in ("\033[2J", "\a", "\r", "\x9b", "‮"):
        assert each not in text


def test_progress_is_one_line():
    event = {"suffix": "progress", "event": {"message": "100 of 300 nodes answered\033[2J"}}
    assert render(event, Style()) == "100 of 300 nodes answered?[2J"
