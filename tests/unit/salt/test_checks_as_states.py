"""A check as a state: its verdict decides whether a highstate fails, and it changes nothing."""

from __future__ import annotations

import pytest

from _states import k3sfw


@pytest.fixture
def checked(monkeypatch):
    """Return what the state makes of an answer of the check, and the events that it sends."""

    def run(
        status,
        problems=(),
        counts=(),
        fixed_by="",
        test=False,
        file_client="remote",
        state=k3sfw.routes_checked,
        **options,
    ):
        told = []
        answer = {
            "status": status,
            "summary": "1 of 2 checks ok (4 of 4 peers)",
            "problems": list(problems),
            "counts": dict.fromkeys(counts, 1),
            **({"fixed_by": fixed_by} if fixed_by else {}),
        }
        functions = {
            "k3sfw.check_routes": lambda refresh: answer,
            "k3sfw.check_ports": lambda peers: answer,
            "event.fire_master": lambda ret, tag: told.append(tag),
        }
        monkeypatch.setattr(k3sfw, "__salt__", functions, raising=False)
        opts = {"test": test, "file_client": file_client}
        monkeypatch.setattr(k3sfw, "__opts__", opts, raising=False)
        return state("routes", **options), told

    return run


@pytest.mark.parametrize(
    ("status", "allow_warnings", "result"),
    [
        ("OK", True, True),
        ("OK", False, True),
        ("WARN", True, True),
        ("WARN", False, False),
        ("FAIL", True, False),
        ("UNKNOWN", True, False),
    ],
)
@pytest.mark.parametrize("state", [k3sfw.routes_checked, k3sfw.ports_checked])
def test_the_verdict_decides_if_a_highstate_fails(checked, state, status, allow_warnings, result):
    for test in (False, True):
        ret, _told = checked(status, test=test, state=state, allow_warnings=allow_warnings)
        assert (ret["name"], ret["result"], ret["changes"]) == ("routes", result, {})


def test_the_comment_has_the_verdict_and_every_problem(checked):
    ret, _told = checked("FAIL", ["no_route pods s1 -> s2", "bad_mtu MTU -> s1"])
    assert ret["comment"].splitlines() == [
        "FAIL: some routes, or what they depend on, are wrong",
        "1 of 2 checks ok (4 of 4 peers)",
        "no_route pods s1 -> s2",
        "bad_mtu MTU -> s1",
    ]


def test_only_a_failure_is_reported_to_the_master(checked):
    assert checked("FAIL")[1] == ["k3sfw/checked"]
    assert checked("WARN")[1] == []
    assert checked("FAIL", test=True)[1] == []
    assert checked("FAIL", file_client="local")[1] == []


@pytest.mark.parametrize(
    ("fixed_by", "options", "result"),
    [
        ("k3s.routes", {"test": True, "settled": True}, None),
        ("k3s.routes", {"test": False, "settled": True}, False),
        ("k3s.routes", {"test": True}, False),
        ("k3s.firewall", {"test": True, "settled": True}, False),
        ("", {"test": True, "settled": True}, False),
    ],
)
def test_in_test_mode_only_what_the_same_run_would_set_is_forgiven(
    checked, fixed_by, options, result
):
    assert checked("FAIL", fixed_by=fixed_by, **options)[0]["result"] is result
