"""
Tells Salt where k3sfw's modules are when pip installed them.

setup.cfg makes packages of the folders that Salt syncs (``_modules`` is ``saltext_k3sfw.modules``),
so an installed minion runs the very files of the checkout. In an editable install they stay where
they are, beside this package.
"""

from __future__ import annotations

from pathlib import Path

LOADERS = ("grains", "modules", "output", "runners", "states")
HERE = Path(__file__).parent


def folders() -> dict[str, list[str]]:
    """Give the folders in which each of Salt's loaders finds modules of this installation."""
    places = {name: (HERE / name, HERE.parent / f"_{name}") for name in LOADERS}
    return {
        name: [str(folder) for folder in candidates if folder.is_dir()]
        for name, candidates in places.items()
    }
