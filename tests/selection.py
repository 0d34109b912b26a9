"""What ``make test`` runs of a parametrised test, and what it leaves to ``make test-all``."""

import pytest


def exhaustive(*values):
    """One set of parameters that only ``make test-all`` runs."""
    return pytest.param(*values, marks=pytest.mark.exhaustive)


def half_of(ones, others):
    """Each of two with each of two; that every one is there once is enough for ``make test``."""
    return [
        (one, other) if place == at else exhaustive(one, other)
        for place, one in enumerate(ones)
        for at, other in enumerate(others)
    ]
