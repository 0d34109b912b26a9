"""linux-system-roles' firewall: its module, with all rules in one call, as the role calls it.

The role looks after packages and the service as well, by a systemd that a host of the lab does not
have, so its tasks before and after that call are left out.

``SYSTEM_ROLES_FIREWALL`` names a git directory of the role: no package index has it.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from bench.rules import Rules, script_rich_rules
from bench.tools import ansible
from bench.tools.tool import Action, NotHere, Tool
from lab.host import Host

_VARIABLE = "SYSTEM_ROLES_FIREWALL"
_FOLDER = "/root/role"


def _get() -> str:
    core = ansible.get()
    if _VARIABLE not in os.environ:
        raise NotHere(f"no package index has it; {_VARIABLE} names a git directory of the role")
    try:
        version = _git("describe", "--tags", "HEAD").decode().strip()
    except subprocess.CalledProcessError:
        raise NotHere(f"{os.environ[_VARIABLE]} is not a git directory of the role") from None
    return f"linux-system-roles.firewall {version}, {core}"


def _write(host: Host, rules: Rules) -> None:
    folder = host.path(_FOLDER)
    if not folder.exists():
        _unpack(folder)
    zone = "nodes" if rules.by_node else "public"
    opened = {"port": rules.ports, "rich_rule": script_rich_rules(), "zone": zone}
    closing = (
        [_setting({"port": rules.former_ports, "zone": zone}, "disabled")] if rules.moved else []
    )
    applying = [*_nodes(rules, zone), *closing, _setting(opened, "enabled")]
    tasks = {Action.APPLY: applying, Action.REMOVE: [_setting(opened, "disabled")]}
    ansible.write(host, {action: [_task(settings)] for action, settings in tasks.items()})


def _nodes(rules: Rules, zone: str) -> list[dict[str, Any]]:
    if not rules.by_node:
        return []
    entries = {"ipset": "nodes", "ipset_type": "hash:ip", "ipset_entries": rules.addresses}
    return [
        {"zone": zone, "state": "present", "permanent": True},
        {**entries, "state": "present", "permanent": True},
        _setting({"zone": zone, "source": ["ipset:nodes"]}, "enabled"),
    ]


def _setting(values: dict[str, Any], state: str) -> dict[str, Any]:
    return {**values, "state": state, "permanent": True, "runtime": True}


def _task(settings: list[dict[str, Any]]) -> dict[str, Any]:
    arguments = {"config_list": settings, "online": True, "__called_from_role": True}
    return {"name": "Configure firewall", "firewall_lib": arguments}


def _command(action: Action) -> Sequence[str]:
    return ansible.command(
        action,
        ANSIBLE_LIBRARY=f"{_FOLDER}/library",
        ANSIBLE_MODULE_UTILS=f"{_FOLDER}/module_utils",
    )


def _unpack(folder: Path) -> None:
    archive = _git("archive", "HEAD", "library", "module_utils")
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _git(*words: str) -> bytes:
    command = ["git", "-C", os.environ[_VARIABLE], *words]
    return subprocess.run(command, capture_output=True, check=True).stdout


TOOL = Tool(
    key="system-role",
    name="linux-system-roles.firewall",
    how="the role's own module, all rules in one call; nodes are an ipset, the source of a zone. "
    "The role's other tasks need a systemd, and are left out",
    get=_get,
    write=_write,
    command=_command,
    own_seconds=ansible.own_seconds,
)
