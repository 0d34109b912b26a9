"""k3sfw itself, as its state in a masterless minion."""

from __future__ import annotations

from bench.rules import Rules, pillar_of
from bench.tools import salt_call
from bench.tools.tool import Tool
from k3sfw_engine import __version__
from lab.host import Host

_STATES = {
    "apply": {"k3s_firewall": {"k3sfw.managed": []}},
    "remove": {"k3s_firewall": {"k3sfw.absent": []}},
}


def _write(host: Host, rules: Rules) -> None:
    salt_call.configure(host, _STATES, pillar_of(rules.nodes, rules))


TOOL = Tool(
    key="k3sfw",
    name="k3sfw.managed",
    how="the tables of this repository; `k3sfw.absent` removes",
    get=lambda: f"k3sfw {__version__}, {salt_call.VERSION}",
    write=_write,
    command=salt_call.command,
    own_seconds=salt_call.own_seconds,
)
