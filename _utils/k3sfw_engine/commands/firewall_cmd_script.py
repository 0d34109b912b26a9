"""The command script: the objects of a node as firewall-cmd lines, for audits or without Salt."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind, Objects
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.plan.desired.compute import compute_desired

_ZONE_OPTIONS = {"interfaces": "--add-interface"}
_POLICY_OPTIONS = {
    "ingress_zones": "--add-ingress-zone",
    "egress_zones": "--add-egress-zone",
    "rich_rules": "--add-rich-rule",
}


def script(tables: Tables, role: Role) -> str:
    """Write a shell script that creates the objects of this node."""
    return firewall_cmd_script(compute_desired(tables, role, read_overlay()).objects)


def firewall_cmd_script(objects: Objects) -> str:
    """Return a shell script that creates these objects on a host which has none of them."""
    lines = ["#!/bin/sh", "# The K3s rules of this node, as k3sfw would create them.", "set -e"]
    for each in objects.values():
        lines += [shlex.join(["firewall-cmd", "--permanent", *line]) for line in _lines(each)]
    return "\n".join([*lines, "firewall-cmd --reload", ""])


def _lines(each: FirewalldObject) -> Iterator[list[str]]:
    if each.kind is Kind.IPSET:
        options = [f"--option={option}" for option in each.items("options")]
        yield [f"--new-ipset={each.name}", f"--type={each.settings['type']}", *options]
    else:
        yield [f"--new-{each.kind.value}={each.name}"]
    of = f"--{each.kind.value}={each.name}"
    for setting in ("short", "description"):
        yield [of, f"--set-{setting}={each.settings[setting]}"]
    if each.kind is Kind.IPSET:
        for entry in each.items("entries"):
            yield [of, f"--add-entry={entry}"]
    elif each.kind is Kind.ZONE:
        yield [of, f"--set-target={each.settings['target']}"]
        if each.settings["forward"]:
            yield [of, "--add-forward"]
        yield from _additions(of, each, _ZONE_OPTIONS)
    else:
        for setting in ("target", "priority"):
            yield [of, f"--set-{setting}={each.settings[setting]}"]
        yield from _additions(of, each, _POLICY_OPTIONS)


def _additions(of: str, each: FirewalldObject, options: dict[str, str]) -> Iterator[list[str]]:
    for setting, option in options.items():
        for value in each.items(setting):
            yield [of, f"{option}={value}"]
