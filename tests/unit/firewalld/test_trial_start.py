"""The answers of a trial start of firewalld, and what they mean."""

import pytest

from k3sfw_engine.errors import EngineError, FirewalldUnavailable
from k3sfw_engine.firewalld.trial_start import judge_trial

STARTS = {"starts": True}
AT = "/etc/firewalld/ipsets/theirs.xml"
FAILS = {
    "starts": False,
    "reason": "COMMAND_FAILED: it overlaps",
    "file": AT,
    "direct": False,
    "no_ipsets": False,
}
DIRECT = {**FAILS, "file": "", "direct": True}
UNABLE = {"unable": "cannot make namespaces: Operation not permitted"}


def test_a_configuration_that_starts_gives_no_notice():
    trial = judge_trial({"candidate": STARTS})
    assert trial.tried
    assert not trial.notices


@pytest.mark.parametrize(
    ("present", "words"),
    [
        (STARTS, "With the present files it does load, so the new ones are at fault"),
        (FAILS, "The present files do not load either"),
        # Not known whose it is.
        (UNABLE, f"(in {AT}). Nothing was changed, and firewalld was not reloaded. Fix: correct"),
    ],
)
def test_a_refusal_says_why_in_which_file_and_since_when(present, words):
    with pytest.raises(EngineError) as refused:
        judge_trial({"candidate": FAILS, "present": present, "stock": STARTS})
    (sentence,) = refused.value.sentences
    for part in (FAILS["reason"], f"(in {AT})", words, f"or {AT}" * (present is STARTS), "Fix: "):
        assert part in sentence


def test_a_firewalld_that_would_ignore_policies_is_refused():
    with pytest.raises(FirewalldUnavailable) as refused:
        judge_trial({"candidate": {"no_policies": True}})
    assert "update it to 0.9 or newer" in refused.value.sentences[0]


def test_a_firewalld_that_can_use_no_ipsets_is_told_what_to_install():
    candidate = {**FAILS, "reason": "INVALID_IPSET: k3s-node-4", "no_ipsets": True}
    with pytest.raises(FirewalldUnavailable) as refused:
        judge_trial({"candidate": candidate, "present": STARTS, "stock": STARTS})
    assert "install the package ipset and restart firewalld" in refused.value.sentences[0]


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        ({"candidate": UNABLE, "present": UNABLE, "stock": UNABLE}, "Operation not permitted"),
        # Not even firewalld's own files start there: it is the place.
        ({"candidate": FAILS, "present": FAILS, "stock": FAILS}, "there, COMMAND_FAILED"),
        ({"candidate": FAILS, "present": FAILS, "stock": UNABLE}, "Operation not permitted"),
        # Chains of others are not there.
        ({"candidate": DIRECT, "present": DIRECT, "stock": STARTS}, "direct.xml may refer to"),
    ],
)
def test_a_trial_that_proves_nothing_refuses_nothing(trials, why):
    trial = judge_trial(trials)
    assert not trial.tried
    assert why in trial.notices[0]
