"""A report: the worst word, the counts, one sentence a cause, the flat rows."""

from __future__ import annotations

import pytest

from k3sfw_engine.checks.report import RETCODES, Report
from k3sfw_engine.checks.verdicts import Check, Severity, Status


def check(status=Status.OK, **columns):
    given = {"source": "s1", "to": "a2", "description": "Kubelet", "evidence": "connected"}
    return Check(status=status, **{"protocol": "tcp", "port": "10250", **given, **columns})


def problems(*checks):
    return Report(checks, "x").as_dict(full=False)["problems"]


BLOCKED = {
    "status": Status.BLOCKED,
    "evidence": "rejected by a2 itself (firewalld)",
    "fix": "salt a2 state.apply k3s.firewall",
}


def test_the_contracts_own_example():
    found = check(**BLOCKED, address="192.0.2.15", protocol="udp", port="8472")
    assert problems(found) == [
        "blocked udp/8472 s1 -> a2 (192.0.2.15): rejected by a2 itself (firewalld). "
        "Fix: salt a2 state.apply k3s.firewall"
    ]


def test_a_summary_counts_the_worst_first_and_says_how_far_it_reached():
    checks = [check()] * 22 + [check(Status.UNPROVEN), check(Status.BLOCKED)]
    result = Report(tuple(checks), "4 of 4 peers probed").as_dict(full=False)
    assert result["summary"] == ("22 of 24 checks ok, 1 blocked, 1 unproven (4 of 4 peers probed)")
    assert result["counts"] == {"blocked": 1, "unproven": 1, "ok": 22}
    assert list(result) == ["status", "summary", "problems", "counts"]


def test_a_place_to_look_is_not_called_a_fix():
    found = check(Status.NO_ANSWER, evidence="nothing came back", see="salt a2 test.ping")
    assert problems(found) == [
        "no_answer tcp/10250 s1 -> a2: nothing came back; see salt a2 test.ping"
    ]


def test_both_families_and_all_ports_of_one_cause_share_a_sentence():
    found = [
        check(**BLOCKED, address=address, port=port)
        for address in ("192.0.2.15", "2001:db8::15")
        for port in ("443", "80")
    ]
    assert problems(*found) == [
        "blocked tcp/80,443 s1 -> a2 (192.0.2.15, 2001:db8::15): rejected by a2 itself (firewalld)"
        ". Fix: salt a2 state.apply k3s.firewall"
    ]


def test_several_targets_of_one_cause_are_named_together():
    found = [
        check(Status.NO_LISTENER, to=to, address="192.0.2.1", evidence="nothing listens")
        for to in ("a2", "a1")
    ]
    assert problems(*found) == ["no_listener tcp/10250 s1 -> a1 a2: nothing listens"]


def test_what_differs_in_ports_has_a_sentence_of_its_own():
    silent = {"status": Status.NO_ANSWER, "evidence": "nothing came back"}
    found = [check(**silent), check(**silent, to="a1"), check(**silent, to="a1", port="80")]
    assert problems(*found) == [
        "no_answer tcp/10250 s1 -> a2: nothing came back",
        "no_answer tcp/80,10250 s1 -> a1: nothing came back",
    ]


def test_a_check_without_a_port_is_known_by_its_description():
    found = check(Status.NO_ROUTE, protocol="", port="", description="default route", to="")
    assert problems(found) == ["no_route default route s1: connected"]


@pytest.mark.parametrize(
    ("statuses", "word", "code"),
    [
        ([], "OK", 0),
        ([Status.OK], "OK", 0),
        ([Status.OK, Status.NO_LISTENER], "WARN", 1),
        ([Status.ERROR, Status.UNPROVEN], "UNKNOWN", 3),
        ([Status.ERROR, Status.EXPOSED], "FAIL", 2),
        ([Status.BLOCKED], "FAIL", 2),
    ],
)
def test_the_worst_check_decides(statuses, word, code):
    result = Report(tuple(map(check, statuses)), "x").as_dict(full=False)
    assert result["status"] == word
    assert RETCODES[Severity(word)] == RETCODES[word] == code


def test_rows_are_flat_texts_the_worst_first_in_the_documented_columns():
    rows = Report((check(), check(Status.BLOCKED)), "x").as_dict(full=True)["checks"]
    assert [row["status"] for row in rows] == ["blocked", "ok"]
    columns = "from to address protocol port description expect status by evidence hint"
    assert list(rows[0]) == columns.split()
    assert all(type(value) is str for row in rows for value in row.values())


def test_a_report_names_the_sls_that_fixes_every_failure():
    fixed = check(Status.BAD_SETTING, sls="k3s.routes")
    warning = check(Status.UNPROVEN)
    by_hand = check(Status.BAD_SETTING)
    for found, sls in [
        ((fixed, warning, check()), "k3s.routes"),
        ((fixed, by_hand), None),
        ((fixed, check(Status.ERROR)), None),
        ((warning,), None),
        ((check(Status.CONFLICT, sls="k3s.routes"),), None),
    ]:
        assert Report(found, "x").as_dict(full=False).get("fixed_by") == sls
