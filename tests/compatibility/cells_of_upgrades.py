"""Cells of upgrades in place, on a cluster that works: of k3sfw, of Salt, of firewalld."""

from __future__ import annotations

from pathlib import Path

import salt.version

from tests.compatibility.cell import Cell, Prepared

_TESTS = "tests/compatibility/test_upgrade_of"


def cells() -> list[Cell]:
    """Return the cells: what is upgraded, from where to where."""
    return [_of_product()]


def _of_product() -> Cell:
    return Cell(
        group="upgrade",
        name="product",
        what="0.1.0 and 0.2.0 to this version, this version to a next one and back: new "
        "connections meanwhile, changes left unfinished, half-synced nodes",
        tests=(
            f"{_TESTS}_product.py",
            "tests/cluster/test_salt_upgrade.py",
            "tests/unit/salt/test_half_synced.py",
        ),
        prepare=_of_this_machine,
        shipping="synced",
    )


def _of_this_machine(_kept: Path) -> Prepared:
    return Prepared(versions={"salt": salt.version.__version__})
