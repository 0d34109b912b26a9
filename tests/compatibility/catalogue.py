"""Every cell of the matrix, gathered from the modules of this folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.compatibility.cell import Cell

# The chapters of the page, in their order, with their headings.
GROUPS = {
    "salt": "Salt, Python and ways of shipping",
    "firewalld": "firewalld and its backends",
    "host": "Distributions and hardened hosts",
    "upgrade": "Upgrades",
}


def cells() -> list[Cell]:
    """Return all cells, by chapter; the modules ``cells_of_…`` name them."""
    found: list[Cell] = []
    for file in sorted(Path(__file__).parent.glob("cells_of_*.py")):
        found += import_module(f"{__package__}.{file.stem}").cells()
    return sorted(found, key=lambda cell: list(GROUPS).index(cell.group))
