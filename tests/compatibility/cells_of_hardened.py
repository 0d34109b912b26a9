"""Hosts where every zone in use drops, denials are logged, and firewalld is locked down."""

from __future__ import annotations

from tests.compatibility.cell import Cell
from tests.compatibility.cells_of_firewalld import prepare

_FUNCTIONAL = ("tests/functional/test_hardened.py", "tests/functional/test_paths_of_pods.py")
_EVERY_PATH = "tests/cluster/traffic/test_paths.py"


def cells() -> list[Cell]:
    """Return a cell for the oldest, the usual and the newest firewalld, and for each backend."""
    return [
        *(_cell(series, "nftables", "hardened") for series in ("0.9-last", "1.3", "2.5")),
        # The test of drift looks at the rules of nftables.
        _cell("1.3", "iptables", "hardened and not corrected"),
        Cell(
            "host",
            "hardened-paths",
            "every path between two nodes, by Salt",
            (_EVERY_PATH, "-k", "drops and denied"),
            lambda kept: prepare("1.3", "nftables", kept),
            firewalld="1.3",
            backend="nftables",
            host="hardened",
        ),
    ]


def _cell(series: str, backend: str, chosen: str) -> Cell:
    return Cell(
        "host",
        f"hardened-{series}-{backend}",
        "rows, paths of pods, drift, undo, removal, upgrade",
        ("-k", chosen, *_FUNCTIONAL),
        lambda kept: prepare(series, backend, kept),
        firewalld=series,
        backend=backend,
        host="hardened",
        processes=3,
    )
