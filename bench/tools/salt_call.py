"""A masterless minion on a host, which applies one state: what both of Salt's tools have in common.

Salt times a state itself, so the start of salt-call is not in its figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import salt.version
import yaml

from bench.rules import CHECKOUT
from bench.tools.tool import Action, ToolFailed
from lab.daemons import salt_program
from lab.host import Host

CONFIGURATION = "/etc/salt/bench"
VERSION = f"Salt {salt.version.__version__}"


def configure(host: Host, states: Mapping[str, Any], pillar: Mapping[str, Any]) -> None:
    """Write the configuration; the states by the names of their files."""
    folder = host.path(CONFIGURATION)
    for sub in ("pillar", "states"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for name, state in states.items():
        (folder / "states" / f"{name}.sls").write_text(yaml.safe_dump(state))
    (folder / "pillar" / "top.sls").write_text(yaml.safe_dump({"base": {"*": ["k3s"]}}))
    # JSON is valid YAML, and Salt's renderer reads thousands of nodes as fast as it can.
    (folder / "pillar" / "k3s.sls").write_text(json.dumps({"k3s": pillar}))
    (folder / "minion").write_text(
        yaml.safe_dump(
            {
                "id": "s1",
                "file_client": "local",
                "root_dir": "/var/lib/salt-bench",
                "file_roots": {"base": [f"{CONFIGURATION}/states"]},
                "pillar_roots": {"base": [f"{CONFIGURATION}/pillar"]},
                "grains": {"k3s_role": "server"},
                "module_dirs": [str(CHECKOUT / "_modules")],
                "states_dirs": [str(CHECKOUT / "_states")],
                "utils_dirs": [str(CHECKOUT / "_utils")],
            }
        )
    )


def command(action: Action) -> Sequence[str]:
    """Apply the file ``apply`` or ``remove``."""
    program = [salt_program("salt-call"), "--local", "-c", CONFIGURATION, "--out=json"]
    if action is Action.DRY_RUN:
        return [*program, "state.apply", "apply", "test=True"]
    return [*program, "state.apply", action.value]


def own_seconds(printed: str, _whole: float) -> float:
    """The durations of the states, as Salt counts them."""
    try:
        results = json.loads(printed)["local"].values()
        durations = [float(each["duration"]) for each in results]
        failed = [each["comment"] for each in results if each["result"] is False]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ToolFailed(printed.strip()[-500:]) from None
    if failed:
        raise ToolFailed(failed[0])
    return sum(durations) / 1000
