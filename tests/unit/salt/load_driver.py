"""Load the module and the states of k3sfw as several minions do, each in a process of its own.

``load_driver.py FOLDER…``: each folder has the configuration of a minion. For each, a line of JSON:
why ``k3sfw.role`` and the state ``k3sfw.managed`` are not there (``null`` if they are), and what
was logged.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys

# What the module imports of Salt and of others takes longer than the module itself.
import jeepney.io.blocking  # noqa: F401
import netaddr  # noqa: F401
import psutil  # noqa: F401
import salt.channel.client  # noqa: F401
import salt.config
import salt.pillar  # noqa: F401
from salt.loader import LazyLoader


def load(folder: str) -> dict[str, str | None]:
    logged = io.StringIO()
    logging.basicConfig(stream=logged, level=logging.WARNING)
    opts = salt.config.minion_config(f"{folder}/minion")
    synced = opts["extension_modules"]
    # Without Salt's own modules: it would look in each of them for what it does not find.
    utils = {"extra_module_dirs": [f"{synced}/utils"]}
    functions = LazyLoader([f"{synced}/modules"], opts, tag="module", **utils)
    pack = {"__salt__": functions}
    states = LazyLoader([f"{synced}/states"], opts, tag="states", pack=pack, **utils)
    return {
        "module": _reason(functions, "k3sfw.role"),
        "states": _reason(states, "k3sfw.managed"),
        "logged": logged.getvalue(),
    }


def _reason(loader, function: str) -> str | None:
    return None if function in loader else loader.missing_fun_string(function)


for folder in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        print(json.dumps(load(folder)), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"{folder} cannot be loaded")
