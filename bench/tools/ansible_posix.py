"""Ansible's module ``ansible.posix.firewalld``: a call of it for each rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.rules import Rules, script_rich_rules
from bench.tools import ansible
from bench.tools.tool import Action, Tool
from lab.host import Host


def _get() -> str:
    core = ansible.get()
    return f"ansible.posix {ansible.version_of_collection('ansible.posix')}, {core}"


def _write(host: Host, rules: Rules) -> None:
    zone = "nodes" if rules.by_node else "public"
    closing = [_each("port", zone, rules.former_ports, "disabled")] if rules.moved else []
    sources = [*_zone(zone), _each("source", zone, rules.addresses)] if rules.by_node else []
    kinds = {"port": rules.ports, "rich_rule": script_rich_rules()}
    applying = [*closing, *sources, *(_each(kind, zone, all_) for kind, all_ in kinds.items())]
    removing = [_each(kind, zone, all_, "disabled") for kind, all_ in kinds.items()]
    ansible.write(host, {Action.APPLY: applying, Action.REMOVE: removing})


def _each(kind: str, zone: str, values: Sequence[str], state: str = "enabled") -> dict[str, Any]:
    arguments = {kind: "{{ item }}", "zone": zone, "state": state}
    return {
        "ansible.posix.firewalld": {**arguments, "permanent": True, "immediate": True},
        "loop": list(values),
    }


def _zone(name: str) -> list[dict[str, Any]]:
    """A new zone exists at runtime after a reload, which the module leaves to its user."""
    arguments = {"zone": name, "state": "present", "permanent": True}
    return [
        {"ansible.posix.firewalld": arguments, "register": "made"},
        {"ansible.builtin.command": "firewall-cmd --reload", "when": "made is changed"},
    ]


TOOL = Tool(
    key="ansible",
    name="ansible.posix.firewalld",
    how="a loop over the script's rules, permanent and immediate; nodes are the sources of a zone",
    get=_get,
    write=_write,
    command=ansible.command,
    own_seconds=ansible.own_seconds,
)
