"""What a check's promises become in its metrics."""

from __future__ import annotations

from k3sfw_engine.checks.report import PromiseHere, Report
from k3sfw_engine.commands.metrics import check_run
from k3sfw_engine.plan.promises import PromiseValue


def promise(name, value, *, is_warning):
    return PromiseHere(name, value, 0, (), "", is_warning)


def test_a_broken_promise_that_is_a_warning_is_never_counted_as_broken():
    promises = (
        promise("a", PromiseValue.BROKEN, is_warning=True),
        promise("b", PromiseValue.BROKEN, is_warning=False),
        promise("c", PromiseValue.KEPT, is_warning=True),
        promise("d", PromiseValue.NOT_ENFORCEABLE, is_warning=True),
    )
    found = Report((), "", in_step={"runtime": True}, promises=promises)
    ran = check_run("ports", 1.0, 1.0, found, None, "a1")
    assert ran.tests == {"warned": 1, "broken": 1, "kept": 1, "not_enforceable": 1}
