"""Damage takes the same path through the code in a real run and in test mode."""

from __future__ import annotations

from k3sfw_engine.healing.known_damage import Damage
from k3sfw_engine.healing.repair import repair
from k3sfw_engine.model.difference import Difference


def ailments(done):
    def mend(name, *sentences):
        done.append(name)
        return sentences

    return [
        Damage(
            "the table inet x",
            (Difference("kernel", "table inet x", extra="drops"),),
            lambda: mend("table"),
            "removing it",
        ),
        Damage("the operator's file is broken. Fix: correct it"),
        Damage(
            "firewalld in state FAILED",
            (Difference("runtime", "firewalld", "state", "RUNNING", "FAILED"),),
            lambda: mend("firewalld", "one rule was lost"),
            "reloading it",
            "it is FAILED",
        ),
    ]


def test_a_dry_run_tells_the_same_and_mends_nothing():
    done = []
    dry, real = repair(ailments(done), test=True), repair(ailments([]), test=False)
    assert done == []
    assert dry.differences == real.differences
    assert {each.layer for each in real.differences} == {"kernel", "runtime"}
    assert dry.reloads == real.reloads == ("it is FAILED",)
    assert dry.mended == (
        "would heal the table inet x, by removing it",
        "would heal firewalld in state FAILED, by reloading it",
    )
    assert [sentence.replace("healed", "would heal") for sentence in real.mended] == [*dry.mended]
    assert dry.notices == ("the operator's file is broken. Fix: correct it",)


def test_what_is_ours_is_mended_in_its_order_and_what_failed_besides_is_told():
    done = []
    health = repair(ailments(done), test=False)
    assert done == ["table", "firewalld"]
    assert health.notices == ("the operator's file is broken. Fix: correct it", "one rule was lost")
