"""A table that drops new connections is told by its chains."""

from __future__ import annotations

import pytest

from k3sfw_engine.standalone.undo.drop_table import PANIC, RELOAD, UNKNOWN, made_by

RELOADS = ("filter_input", "filter_forward", "filter_output")
PANICS = ("raw_prerouting", "raw_output")


@pytest.mark.parametrize(
    ("chains", "made"),
    [
        (RELOADS, RELOAD),
        (PANICS, PANIC),
        # A reload during a panic: it must never be lifted.
        ((*RELOADS, *PANICS), PANIC),
        ((), UNKNOWN),
        (("filter_x",), UNKNOWN),
    ],
)
def test_panic_mode_and_a_reload_are_told_apart(chains, made):
    assert made_by(chains.__contains__) == made
