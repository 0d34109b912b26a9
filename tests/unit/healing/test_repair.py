"""A dry run reports the damage that a real run heals, and heals none."""

from __future__ import annotations

from k3sfw_engine.errors import Problem
from k3sfw_engine.healing.known_damage import Damage
from k3sfw_engine.healing.repair import repair
from k3sfw_engine.model.difference import Difference


def damage(done):
    def heal(name, *sentences):
        done.append(name)
        return sentences

    return [
        Damage(
            Problem("the table inet x drops"),
            (Difference("kernel", "table inet x", extra="drops"),),
            lambda: heal("table"),
            "removing it",
        ),
        Damage(Problem("a file of the operator is broken", "correct it")),
        Damage(
            Problem("firewalld is FAILED"),
            (Difference("runtime", "firewalld", "state", "RUNNING", "FAILED"),),
            lambda: heal("firewalld", "one rule was lost"),
            "reloading it",
            "it is FAILED",
        ),
    ]


def test_a_dry_run_reports_the_same_and_heals_nothing():
    done = []
    dry, real = repair(damage(done), test=True), repair(damage([]), test=False)
    assert done == []
    assert dry.differences == real.differences
    assert {each.layer for each in real.differences} == {"kernel", "runtime"}
    assert dry.reloads == real.reloads == ("it is FAILED",)
    assert real.healed == (
        "healed by removing it: the table inet x drops",
        "healed by reloading it: firewalld is FAILED",
    )
    assert dry.healed == tuple(f"would be {sentence}" for sentence in real.healed)
    assert dry.notices == ("a file of the operator is broken. Fix: correct it",)


def test_our_damage_is_healed_in_order_and_what_failed_besides_is_reported():
    done = []
    health = repair(damage(done), test=False)
    assert done == ["table", "firewalld"]
    assert health.notices == (
        "a file of the operator is broken. Fix: correct it",
        "one rule was lost",
    )
