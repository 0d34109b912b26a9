"""
The time that pillars save by sharing the list of nodes: renders ``pillar/k3s/nodes.sls`` with a
master's cache of many minions, with the shared list and without it, and prints the ratio. Salt's
own MasterPillarUtil is measured for comparison.
"""

from __future__ import annotations

import argparse
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minions", type=int, default=1000)
    parser.add_argument("--pillars", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        opts, grains = master(Path(folder), arguments.minions)
        cache = salt.cache.Cache(opts)
        unshared = median(
            arguments.pillars, lambda: render(opts, grains), lambda: cache.flush("k3sfw", "nodes")
        )
        shared = median(arguments.pillars, lambda: render(opts, grains))
        salts_own = median(arguments.pillars, lambda: read_as_salt_does(opts))
    print(f"{arguments.minions} minions, Salt {salt.version.__version__}")
    print(f"MasterPillarUtil    {salts_own * 1000:7.1f} ms a pillar")
    print(f"every entry read    {unshared * 1000:7.1f} ms a pillar")
    print(f"answer shared       {shared * 1000:7.1f} ms a pillar")
    print("shared : unshared : MasterPillarUtil = ", end="")
    print(f"1 : {unshared / shared:.1f} : {salts_own / shared:.1f}")


def master(folder: Path, count: int) -> tuple[dict, dict]:
    """Return a master's configuration with the keys and grains of ``count`` minions, and grains."""
    (folder / "master").write_text(f"root_dir: {folder}\n")
    opts = salt.config.master_config(str(folder / "master"))
    grains = dict(salt.loader.grains(salt.config.minion_config(None)), k3s_role="agent")
    keys, cached = Path(opts["pki_dir"], "minions"), Path(opts["cachedir"])
    keys.mkdir(parents=True)
    cache = salt.cache.Cache(opts)
    for number in range(count):
        minion = f"node{number}"
        (keys / minion).write_text("a public key")
        claims = {**grains, "id": minion, "k3s_node_ips": [f"10.0.{number // 250}.{number % 250}"]}
        if salt.version.__version_info__ >= (3008,):
            cache.store("grains", minion, claims)
        else:
            cache.store(f"minions/{minion}", "data", {"grains": claims, "pillar": {}})
    for entry in cached.rglob("*.p"):
        os.utime(entry, (A_MINUTE_AGO, A_MINUTE_AGO))
    return dict(opts, id="node0"), claims


def render(opts: dict, grains: dict) -> None:
    answer = salt.utils.templates.py(str(NODES_SLS), string=True, __opts__=opts, __grains__=grains)
    if not answer["result"]:
        raise SystemExit(answer["data"])


def read_as_salt_does(opts: dict) -> None:
    salt.utils.master.MasterPillarUtil(
        "*", "glob", use_cached_grains=True, grains_fallback=False, opts=opts
    ).get_minion_grains()


def median(
    times: int, run: Callable[[], None], before: Callable[[], object] = lambda: None
) -> float:
    taken = []
    for _ in range(times):
        before()
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
