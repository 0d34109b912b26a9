"""A node joins while the disk of the master's cache is full; run on a small disk of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.unit.salt.pillar_master import Master, claims


def main(folder: Path) -> None:
    """Print the nodes in each pillar as JSON."""
    master = Master(folder)
    for number in (1, 2):
        master.join(f"s{number}", server(number))
    # The key of the new node is there before.
    master.accept("s3")
    told = {}
    filling = fill(folder)
    told["another, on the full disk"] = sorted(master.nodes("s1", server(1)))
    told["the new node, on the full disk"] = sorted(master.nodes("s3", server(3)))
    filling.unlink()
    master.hear("s3", server(3))
    told["another, once its grains are cached"] = sorted(master.nodes("s1", server(1)))
    told["the new node, then"] = sorted(master.nodes("s3", server(3)))
    master.nodes("s2", server(2))
    before = master.cache.fetch("k3sfw", "memory")
    master.let_pass(1)
    for number in (1, 2, 3):
        master.nodes(f"s{number}", server(number))
    looked = master.cache.fetch("k3sfw", "memory")["looked"]
    told["a look at all is needed after that"] = looked != before["looked"] - 1
    print(json.dumps(told))


def server(number: int) -> dict[str, object]:
    return claims("server", f"192.0.2.{number}")


def fill(folder: Path) -> Path:
    """Take all the room that is left on the disk."""
    filling = folder / "filling"
    with filling.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filling


if __name__ == "__main__":
    main(Path(sys.argv[1]))
