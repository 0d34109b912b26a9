"""Show with packets that a tool did what it was asked for: else its time is worth nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable

from bench.rules import Rules
from bench.tools.tool import Action, ToolFailed
from lab.host import Host

# Every tool opens it to everyone; on a server, the tables open the other one to each node.
_FOR_EVERYONE = 3000
_FOR_NODES = 6443
# Nothing listens: a refusal is the answer of the host itself, and any other error the firewall's.
_ASK = """
import json, socket, sys
source, target, *ports = sys.argv[1:]
arrived = []
for port in map(int, ports):
    try:
        socket.create_connection((target, port), 2, (source, 0)).close()
    except ConnectionRefusedError:
        arrived.append(port)
    except OSError:
        pass
print(json.dumps(arrived))
"""


def prove(host: Host, client: Host, rules: Rules, action: Action) -> None:
    """Send packets. Raises ``ToolFailed`` if one is let in or kept out that should not be."""
    if action is Action.DRY_RUN:
        return
    if rules.by_node:
        _prove_node(host, client, rules)
        return
    wanted = {_FOR_EVERYONE, *_numbers(rules.more_ports)} if action is Action.APPLY else set()
    # A few closed ones are enough: the kernel limits its rejections to one a second.
    asked = {_FOR_EVERYONE, *_numbers([*rules.more_ports, *rules.former_ports[::50]])}
    _compare(_arrived(host, client, client.ipv4, asked), wanted)


def _prove_node(host: Host, client: Host, rules: Rules) -> None:
    """The last node gets in, and the one that would come next does not."""
    for number, wanted in ((rules.nodes, {_FOR_NODES}), (rules.nodes + 1, set())):
        address = Rules(nodes=number).addresses[-1]
        client.run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
        host.run(["ip", "route", "add", f"{address}/32", "via", client.ipv4])
        try:
            _compare(_arrived(host, client, address, {_FOR_NODES}), wanted)
        finally:
            client.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"])
            host.run(["ip", "route", "delete", f"{address}/32"])


def _arrived(host: Host, client: Host, source: str, ports: Iterable[int]) -> set[int]:
    words = [source, host.ipv4, *map(str, sorted(ports))]
    return set(json.loads(client.run(["/usr/bin/python3", "-c", _ASK, *words]).stdout))


def _compare(arrived: set[int], wanted: set[int]) -> None:
    if arrived != wanted:
        closed, opened = sorted(wanted - arrived), sorted(arrived - wanted)
        raise ToolFailed(f"it left ports closed: {closed[:3]}, open: {opened[:3]}")


def _numbers(ports: Iterable[str]) -> set[int]:
    return {int(port.split("/")[0]) for port in ports}
