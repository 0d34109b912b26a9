"""
The entry point that tells Salt where pip installed k3sfw's modules.

setup.cfg maps the folders that Salt syncs to packages (``_modules`` is ``saltext_k3sfw.modules``),
so an installed minion runs the same files as a synced one. In an editable install they stay beside
this package.
"""

from __future__ import annotations

import functools
import logging
import sys
from importlib import metadata
from pathlib import Path

LOADERS = ("beacons", "grains", "modules", "output", "runners", "states")
HERE = Path(__file__).parent


def folders() -> dict[str, list[str]]:
    """Return the folders of this installation in which each of Salt's loaders finds modules."""
    _warn_of_a_second_distribution()
    places = {name: (HERE / name, HERE.parent / f"_{name}") for name in LOADERS}
    return {
        name: [str(folder) for folder in candidates if folder.is_dir()]
        for name, candidates in places.items()
    }


# Salt asks once for each kind of module.
@functools.cache
def _warn_of_a_second_distribution() -> None:
    # Up to 0.2.0 the distribution was called k3sfw. pip does not know that it is the same one, and
    # whichever is removed takes the files of both away.
    try:
        old, new = metadata.version("k3sfw"), metadata.version("saltext.k3sfw")
    except metadata.PackageNotFoundError:
        return
    pip = f"{sys.executable} -m pip"
    logging.getLogger(__name__).warning(
        "k3sfw: the Python packages k3sfw %s and saltext.k3sfw %s are both installed, and own the "
        "same files. Fix: %s uninstall --yes k3sfw saltext.k3sfw, then install the new wheel again",
        old,
        new,
        pip,
    )
