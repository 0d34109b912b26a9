"""Each Salt on each Python that it supports, and each way of shipping with each Salt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.compatibility import salts
from tests.compatibility.cell import Cell, Prepared

WALK = "tests/compatibility/test_walk.py"
# The Pythons that each release of Salt supports, as far as they can be had; first that of its
# packages, with which each way of shipping is tried.
PYTHONS = {
    "3006": ("3.11", "3.10"),
    "3007": ("3.11", "3.10"),
    "3008": ("3.14", "3.13", "3.12", "3.11", "3.10"),
}
# Salts that old distributions have, on Pythons that are too old for k3sfw.
OLD = {"3005": "3.6", "3006": "3.8"}
# By the key of the way in ``ways``.
WAYS = {
    "synced": "synced from the master",
    "masterless": "masterless",
    "gitfs": "gitfs and git pillar",
    "salt-ssh": "salt-ssh, installed on the master",
    "wheel": "pip: the wheel",
    "sdist": "pip: the sdist",
    "editable": "pip: editable",
    "bundle": "synced; minions laid out as SUSE's bundle",
    "onedir": "synced; laid out as a onedir",
}


def cells() -> list[Cell]:
    """Return them: synced on all Pythons, and each other way on that of Salt's packages."""
    walks = [
        _walk(release, python, way)
        for release, pythons in PYTHONS.items()
        for way in WAYS
        for python in (pythons if way == "synced" else pythons[:1])
    ]
    return [*walks, *(_refusal(release, python) for release, python in OLD.items())]


def _walk(release: str, python: str, way: str) -> Cell:
    return Cell(
        group="salt",
        name=f"{release}-python-{python}-{way}",
        what="the walk",
        tests=(WALK,),
        prepare=_prepare(release, python, way),
        salt=release,
        python=python,
        shipping=WAYS[way],
    )


def _refusal(release: str, python: str) -> Cell:
    def prepare(kept: Path) -> Prepared:
        made = salts.old_environment(kept, release, python)
        return Prepared(environment={"K3SFW_OLD_SALT": str(made.folder)}, versions=_versions(made))

    return Cell(
        group="salt",
        name=f"{release}-python-{python}",
        what="what a minion with an old Python says",
        tests=("tests/unit/salt/test_old_python.py",),
        prepare=prepare,
        salt=release,
        python=python,
        shipping="masterless",
    )


def _prepare(release: str, python: str, way: str) -> Callable[[Path], Prepared]:
    def prepare(kept: Path) -> Prepared:
        made = salts.environment(kept, release, python)
        return Prepared(
            environment={"K3SFW_SALT": str(made.folder), "K3SFW_WAY": way},
            versions=_versions(made),
        )

    return prepare


def _versions(made: salts.Environment) -> dict[str, str]:
    return {"salt": made.version_of_salt(), "python": made.version_of_python()}
