"""Cells of upgrades in place, on a cluster that works: of k3sfw, of Salt, of firewalld."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import salt.version

from tests.compatibility import salts
from tests.compatibility.cell import Cell, NotHere, Prepared
from tests.compatibility.other_firewallds import from_debian

_TESTS = "tests/compatibility/test_upgrade_of"
# From a release of Salt and a Python to others. The first pair lacks in the new Python what was
# installed into the old one; so does Salt's own package.
_SALTS = (("3006", "3.11", "3008", "3.14"), ("3006", "3.11", "3007", "3.11"))
# The suites of Debian with these series of firewalld; the machine's own needs none.
_SUITES = {"1.3": "", "2.3": "trixie", "2.5": "forky"}
_FIREWALLDS = (("1.3", "2.3"), ("2.3", "2.5"), ("1.3", "2.5"))


def cells() -> list[Cell]:
    """Return the cells: what is upgraded, from where to where."""
    return [
        *_of_product(),
        *(_of_salt(*pair) for pair in _SALTS),
        *(_of_firewalld(*pair) for pair in _FIREWALLDS),
    ]


def _of_product() -> Iterator[Cell]:
    parts = (
        (
            "product",
            "0.1.0 and 0.2.0 to this version, this one to a next one and back: new connections "
            "meanwhile, a master with nodes of other versions",
            (f"{_TESTS}_product.py",),
        ),
        (
            "unfinished",
            "0.1.0 to this version: changes that were broken off, hang or wait; a sync too early",
            ("tests/cluster/test_salt_upgrade.py",),
        ),
        (
            "copies",
            "half-synced nodes, a copy of pip beside a synced one, an older version on a node",
            (
                "tests/functional/test_downgrade.py",
                "tests/unit/salt/test_half_synced.py",
                "tests/unit/salt/test_two_copies.py",
            ),
        ),
    )
    for name, what, tests in parts:
        yield Cell(
            group="upgrade",
            name=name,
            what=what,
            tests=tests,
            prepare=lambda _kept: Prepared(
                {"K3SFW_ALL_UPGRADES": "1"}, {"salt": salt.version.__version__}
            ),
            shipping="synced",
        )


def _of_salt(old: str, old_python: str, new: str, new_python: str) -> Cell:
    def prepare(kept: Path) -> Prepared:
        before = salts.environment(kept, old, old_python)
        after = salts.environment(kept, new, new_python)
        return Prepared(
            {
                "K3SFW_OLD_SALT": str(before.python.parent),
                "K3SFW_NEW_SALT": str(after.python.parent),
            },
            {
                "salt": f"{before.version_of_salt()} → {after.version_of_salt()}",
                "python": f"{before.version_of_python()} → {after.version_of_python()}",
            },
        )

    return Cell(
        group="upgrade",
        name=f"salt-{old}-{new}",
        what="Salt in place, master first and a minion first: new connections meanwhile, packages "
        "that the new Python lacks, schedule, a change that waits",
        tests=(f"{_TESTS}_salt.py",),
        prepare=prepare,
        salt=f"{old} → {new}",
        python=f"{old_python} → {new_python}",
        shipping="synced",
    )


def _of_firewalld(old: str, new: str) -> Cell:
    def prepare(kept: Path) -> Prepared:
        folder, version = from_debian(_SUITES[new], kept)
        found, before = {"K3SFW_NEW_FIREWALLD": str(folder)}, _of_this_machine()
        if _SUITES[old]:
            older, before = from_debian(_SUITES[old], kept)
            found["K3SFW_OLD_FIREWALLD"] = str(older)
        return Prepared(found, {"firewalld": f"{before} → {version}"})

    return Cell(
        group="upgrade",
        name=f"firewalld-{old}-{new}",
        what="firewalld in place, and back: new connections meanwhile, an apply before the "
        "restart, unfinished changes, heal",
        tests=("tests/functional/test_firewalld_upgrade.py",),
        prepare=prepare,
        firewalld=f"{old} → {new}",
    )


def _of_this_machine() -> str:
    shown = ["dpkg-query", "--show", "--showformat=${Version}", "firewalld"]
    done = subprocess.run(shown, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotHere("this machine has no firewalld of Debian's")
    return done.stdout.partition("-")[0]
