"""Which version is newer, as packaging and pip have it."""

from __future__ import annotations

import itertools

import pytest
from packaging.version import Version

from k3sfw_engine.model.version_order import is_newer

VERSIONS = (
    *("0.1.0", "0.2.0", "0.3.0.dev0", "0.3.0.dev1", "0.3.0a1", "0.3.0b2", "0.3.0rc1", "0.3.0"),
    *("0.3.1", "0.10.0", "1.0", "1.0.0", "1.0.1", "2", "99.1.0"),
)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(VERSIONS, VERSIONS)))
def test_the_order_is_that_of_pip(one, other):
    assert is_newer(one, other) == (Version(one) > Version(other))


@pytest.mark.parametrize("unreadable", ["", "main", "1.x", "1.0+local", "v2"])
def test_of_a_version_that_cannot_be_read_nothing_is_newer_or_older(unreadable):
    assert not is_newer(unreadable, "0.1.0")
    assert not is_newer("99.0", unreadable)
