"""Arguments that a function of the master does not have are refused, and a CI notices it."""

from __future__ import annotations

import inspect

import pytest

from _runners import k3sfw as runner
from tests.unit.salt.salt_run import RunnerMaster

VERBS = sorted(
    name
    for name, each in vars(runner).items()
    if inspect.isfunction(each) and not name.startswith("_")
)
REQUIRED = {"to": "s1", "port": "22"}


def refused(verb, *values, **named):
    """The one sentence of a call that is refused."""
    returned = getattr(runner, verb)(*values, **named)
    assert returned["retcode"] == (3 if verb == "check" else 1)
    (sentence,) = returned["data"]["problems"]
    assert f"Fix: salt-run -d k3sfw.{verb}" in sentence
    return sentence


def required(verb):
    return {
        name: REQUIRED[name]
        for name in inspect.signature(getattr(runner, verb)).parameters
        if name in REQUIRED
    }


@pytest.mark.parametrize("verb", VERBS)
def test_every_function_of_the_master_refuses_an_argument_that_it_does_not_have(verb):
    sentence = refused(verb, **required(verb), nwe="base", __pub_user="root")
    assert f"k3sfw.{verb} has no argument nwe." in sentence


@pytest.mark.parametrize("verb", VERBS)
def test_every_function_of_the_master_refuses_more_values_than_it_takes(verb):
    assert "arguments, and not 20" in refused(verb, *["s1"] * 20)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if required(verb)])
@pytest.mark.parametrize("empty", ["", None])
def test_what_a_function_needs_is_neither_missing_nor_empty(verb, empty):
    assert "needs port=" in refused(verb, "s1")
    assert "needs port=" in refused(verb, to="s1", port=empty)


def test_a_value_is_not_given_twice():
    assert "got new twice" in refused("test", "base", new="base")


@pytest.mark.parametrize(
    "words",
    [("k3sfw.test", "nwe=/srv/candidate"), ("k3sfw.who", "s1"), ("k3sfw.diff", *"123456789")],
)
def test_salt_run_exits_with_1_and_shows_a_sentence_instead_of_the_docstring(words, tmp_path):
    ran = RunnerMaster(tmp_path).run(*words)
    assert ran.code == 1
    assert ran.data["problems"][0].startswith(words[0])
