"""Salt's own state ``firewalld.present``: a firewall-cmd for each rule that differs."""

from __future__ import annotations

from typing import Any

from bench.rules import Rules, script_rich_rules
from bench.tools import salt_call
from bench.tools.tool import Tool
from lab.host import Host


def _write(host: Host, rules: Rules) -> None:
    # Rows that go are pruned, and so is all of it when it is removed.
    wanted = {"ports": rules.ports, "rich_rules": script_rich_rules()}
    if rules.by_node:
        wanted["sources"] = rules.addresses
    nothing = {name: [] for name in wanted}
    salt_call.configure(
        host, {"apply": _state(rules, wanted), "remove": _state(rules, nothing)}, {}
    )


def _state(rules: Rules, wanted: dict[str, list[str]]) -> dict[str, Any]:
    # A zone of its own takes the nodes by their addresses; else they are in the default zone.
    settings: list[dict[str, Any]] = [{"name": "nodes" if rules.by_node else "public"}]
    for name, values in wanted.items():
        settings += [{name: values}, {f"prune_{name}": True}]
    return {"rules": {"firewalld.present": settings}}


TOOL = Tool(
    key="salt",
    name="Salt's firewalld.present",
    how="one state with the script's rules, which prunes others; nodes are the sources of a zone",
    get=lambda: salt_call.VERSION,
    write=_write,
    command=salt_call.command,
    own_seconds=salt_call.own_seconds,
)
