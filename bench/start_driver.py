"""Measures one import, or the grain, for ``bench.start``, as JSON on stdout.

``start_driver.py import FILE AFTER`` imports the file in a process that has imported the module
AFTER. ``start_driver.py grain FOLDER`` reads the grain of the host whose files are in the folder.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "_utils")]


def imported(file: str, after: str) -> dict[str, Any]:
    """Return the seconds, how many modules of ours came, and the packages of others."""
    importlib.import_module(after)
    before, began = set(sys.modules), time.process_time()
    failure = runpy.run_path(file).get("_FAILURE")
    spent = time.process_time() - began
    if failure is not None:
        raise failure
    packages = {name.partition(".")[0] for name in set(sys.modules) - before}
    return {
        "seconds": spent,
        "ours": sum(name.startswith("k3sfw_engine") for name in set(sys.modules) - before),
        "packages": sorted(packages - sys.stdlib_module_names - {"k3sfw_engine"}),
    }


def grain(folder: str) -> dict[str, Any]:
    """Return the seconds for which the grain is read in a process that has loaded it."""
    from _grains import k3s

    began = time.process_time()
    found = k3s._node(Path(folder), {}, k3s._kernel.read_network)
    spent = time.process_time() - began
    assert found["k3s_role"] == "server"
    return {"seconds": spent}


if __name__ == "__main__":
    json.dump({"import": imported, "grain": grain}[sys.argv[1]](*sys.argv[2:]), sys.stdout)
