"""Metrics as text: what Prometheus reads back is what was written, however hostile a label is."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.model.exposition import LONGEST_LABEL, Metric, Sample, write_exposition

SOME = Metric("k3sfw_some", "What it means.")
_SAMPLE = re.compile(
    r'(?P<name>\w+)(?:\{label="(?P<label>(?:[^"\\\n]|\\[\\"n])*)"\})? (?P<value>\S+)'
)


def written(*samples, metric=SOME):
    return write_exposition([(metric, samples)])


def read_back(text):
    """The label and the value of the only sample, read as the format says."""
    (line,) = [line for line in text.split("\n") if line and not line.startswith("#")]
    found = _SAMPLE.fullmatch(line)
    assert found, line
    label = found["label"]
    unescaped = re.sub(r"\\(.)", lambda each: {"n": "\n"}.get(each[1], each[1]), label or "")
    return unescaped, float(found["value"])


def test_a_metric_has_help_and_type_before_its_samples():
    text = written(Sample(1, {"layer": "runtime"}), Sample(0, {"layer": "kernel"}))
    assert text == (
        "# HELP k3sfw_some What it means.\n"
        "# TYPE k3sfw_some gauge\n"
        'k3sfw_some{layer="runtime"} 1\n'
        'k3sfw_some{layer="kernel"} 0\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.0, "1"), (0.25, "0.25"), (1764410000.125, "1764410000.125"), (math.nan, "NaN")],
)
def test_a_value_is_written_in_full(value, text):
    assert written(Sample(value)).splitlines()[-1] == f"k3sfw_some {text}"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=LONGEST_LABEL))
def test_any_label_is_read_back_as_it_was(label):
    readable = label.replace("\r", "\n")
    assert read_back(written(Sample(1, {"label": label}))) == (readable, 1.0)


@pytest.mark.parametrize("label", ["\ud800", "x" * 10_000, '"} 1\nforged 1', "{}", "\\", "\r\n"])
def test_a_hostile_label_stays_in_its_quotes_and_is_short(label):
    text = written(Sample(1, {"label": label}))
    text.encode("utf-8")
    found, value = read_back(text)
    assert (len(found) <= LONGEST_LABEL, value) == (True, 1.0)


def test_a_help_of_several_lines_stays_one_line():
    text = written(Sample(1), metric=Metric("k3sfw_some", "a\nb\\c"))
    assert text.splitlines()[0] == "# HELP k3sfw_some a\\nb\\\\c"
