"""
The entry point that tells Salt where pip installed k3sfw's modules.

setup.cfg maps the folders that Salt syncs to packages (``_modules`` is ``saltext_k3sfw.modules``),
so an installed minion runs the same files as a synced one. In an editable install they stay beside
this package.
"""

from __future__ import annotations

from pathlib import Path

LOADERS = ("grains", "modules", "output", "runners", "states")
HERE = Path(__file__).parent


def folders() -> dict[str, list[str]]:
    """Return the folders of this installation in which each of Salt's loaders finds modules."""
    places = {name: (HERE / name, HERE.parent / f"_{name}") for name in LOADERS}
    return {
        name: [str(folder) for folder in candidates if folder.is_dir()]
        for name, candidates in places.items()
    }
