"""Ids of states, tags of events and first lines of comments are those of the documentation."""

from __future__ import annotations

import re

import pytest

from _states import k3sfw
from tests import catalogue_of_states as catalogue
from tests.paths import ROOT

FILES = {
    "k3s" if path.stem == "init" else f"k3s.{path.stem}": path.read_text()
    for path in ROOT.glob("salt/k3s/*.sls")
}
SENDERS = ("_modules", "_output", "_runners", "_states", "_utils")


def states_in(text):
    """The ids in an SLS file, each with its functions."""
    if text.startswith("#!py"):
        ids = re.findall(r'"(k3s_\w+)": ', text)
        functions = set(re.findall(r'"((?:pip|schedule|test)\.\w+)": ', text))
        return dict.fromkeys(ids, functions)
    _head, *parts = re.split(r"^(k3s_.+):$", text, flags=re.MULTILINE)
    return {
        name.replace("{{ name }}", "NAME"): set(re.findall(r"^  (\w+\.\w+):", body, re.MULTILINE))
        for name, body in zip(parts[::2], parts[1::2])
    }


def first_lines_in_code():
    state = {line for headlines in k3sfw._HEADLINES.values() for line in headlines.values()}
    state |= {k3sfw._STARTS, k3sfw._REFUSED, k3sfw._UNDONE, k3sfw._NOT_DONE, k3sfw._BROKEN}
    found = (re.findall(r'^HEADLINE\w* = "(.+)"$', text, re.MULTILINE) for text in FILES.values())
    return state | {line for lines in found for line in lines}


def test_every_sls_file_has_a_heading():
    assert set(catalogue.states()) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_ids_of_an_sls_file_are_documented_and_stay(name):
    documented, real = catalogue.states()[name], states_in(FILES[name])
    assert set(documented) == set(real)
    for each, functions in documented.items():
        assert functions and functions <= real[each], each


def test_every_event_is_documented():
    sources = [path for folder in SENDERS for path in (ROOT / folder).rglob("*.py")]
    sent = {tag for path in sources for tag in re.findall(r'"(k3sfw/\w+)"', path.read_text())}
    assert sent == catalogue.event_tags()


def test_every_first_line_is_documented():
    assert first_lines_in_code() == catalogue.first_lines()


@pytest.mark.parametrize("line", sorted(catalogue.first_lines()))
def test_a_first_line_is_short_and_has_nothing_that_changes(line):
    assert len(line) <= 80
    assert not re.search(r"\d(?!s)|%|{", line)
