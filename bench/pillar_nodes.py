"""
What ``pillar/k3s/nodes.sls`` costs a master: one pillar by the size of the node's cluster and the
number of all minions, and the pillars of all nodes by their number. Prints CPU time, and each case
as a ratio to what Salt's own MasterPillarUtil takes to read the grains of all these minions.

``--before FILE`` measures another version of the file beside it, such as one from git show.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import salt.cache
import salt.config
import salt.loader
import salt.utils.master
import salt.utils.templates
import salt.version

NODES_SLS = Path(__file__).parents[1] / "pillar/k3s/nodes.sls"
A_MINUTE_AGO = time.time() - 60
# Nodes in a cluster, of how many minions.
CASES = ((3, 1_000), (3, 10_000), (1_000, 1_000))
ALL_OF = (100, 1_000)
TIMES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="another version of nodes.sls")
    before = parser.parse_args().before
    print(f"Salt {salt.version.__version__}; CPU time, in brackets relative to MasterPillarUtil")
    for size, minions in CASES:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\nA pillar in a cluster of {size:,} among {minions:,} minions")
            measure_one(Master(Path(folder), minions, size), before)
    print()
    for nodes in ALL_OF:
        with tempfile.TemporaryDirectory() as folder:
            measure_all(Master(Path(folder), nodes, nodes))


class Master:
    """A master with the keys and the cached grains of clusters of one size."""

    def __init__(self, folder: Path, count: int, size: int):
        (folder / "master").write_text(f"root_dir: {folder}\n")
        self.opts = salt.config.master_config(str(folder / "master"))
        self._common = dict(salt.loader.grains(salt.config.minion_config(None)), k3s_role="agent")
        self._size = size
        self.count = count
        self.cache = salt.cache.Cache(self.opts)
        keys = Path(self.opts["pki_dir"], "minions")
        keys.mkdir(parents=True)
        for number in range(count):
            (keys / f"node{number}").write_text("a public key")
            self.hear(number)
        for entry in Path(self.opts["cachedir"]).rglob("*.p"):
            os.utime(entry, (A_MINUTE_AGO, A_MINUTE_AGO))

    def grains(self, number: int) -> dict:
        address = f"10.{number // 62_500}.{number // 250 % 250}.{number % 250}"
        own = {"k3s_cluster": f"c{number // self._size}", "k3s_node_ips": [address]}
        return {**self._common, **own, "id": f"node{number}"}

    def hear(self, number: int, pillar: dict | None = None) -> None:
        """Cache the grains of a node, as each Salt does after its pillar."""
        if salt.version.__version_info__ >= (3008,):
            self.cache.store("grains", f"node{number}", self.grains(number))
        else:
            data = {"grains": self.grains(number), "pillar": pillar or {}}
            self.cache.store(f"minions/node{number}", "data", data)

    def pillar(self, number: int = 0, file: Path = NODES_SLS) -> dict:
        answer = salt.utils.templates.py(
            str(file),
            string=True,
            __opts__=dict(self.opts, id=f"node{number}"),
            __grains__=self.grains(number),
        )
        if not answer["result"]:
            raise SystemExit(answer["data"])
        return answer["data"]

    def read_as_salt_does(self) -> None:
        salt.utils.master.MasterPillarUtil(
            "*", "glob", use_cached_grains=True, grains_fallback=False, opts=self.opts
        ).get_minion_grains()

    def be_due(self) -> None:
        """Let the time pass after which a pillar looks at all minions again."""
        memory = self.cache.fetch("k3sfw", "memory")
        self.cache.store("k3sfw", "memory", {**memory, "looked": memory["looked"] - 3600})


def measure_one(master: Master, before: Path | None) -> None:
    salts = median(master.read_as_salt_does)
    taken = {
        "first of a master": median(master.pillar, times=1),
        "a pillar": median(master.pillar),
        "after another's": median(master.pillar, lambda: master.hear(1, master.pillar(1))),
        "a look at all": median(master.pillar, master.be_due),
    }
    if before:
        master.pillar(file=before)
        taken["before: a pillar"] = median(lambda: master.pillar(file=before))
    taken["MasterPillarUtil"] = salts
    for name, seconds in taken.items():
        print(f"  {name:<18}{seconds * 1000:9.1f} ms  ({seconds / salts:.4f})")


def measure_all(master: Master) -> None:
    """The pillars of all nodes of one cluster, each of which is cached after its pillar."""
    master.pillar()
    travels = 0
    start = time.process_time()
    for number in range(master.count):
        pillar = master.pillar(number)
        master.hear(number, pillar)
        travels += len(json.dumps(pillar))
    taken = (time.process_time() - start) / master.count
    print(
        f"All pillars of {master.count:>5,} nodes: {taken * 1000:6.1f} ms and "
        f"{travels / master.count / 1000:.0f} kB each, {taken / travels * master.count * 1e9:.0f} "
        "ns a byte"
    )


def median(
    run: Callable[[], object], prepare: Callable[[], object] = lambda: None, times: int = TIMES
) -> float:
    taken = []
    for _ in range(times):
        prepare()
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
