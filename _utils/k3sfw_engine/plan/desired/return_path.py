"""The policy that keeps the connection to the Salt master when firewalld first starts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import netaddr

from k3sfw_engine.model.firewall_objects import RETURN_PATH
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.policies import make_policy


def with_return_path(
    wanted: Desired, masters: Iterable[netaddr.IPAddress], ports: Iterable[int]
) -> Desired:
    """Add the policy that accepts the Salt master's packets of an existing connection.

    A firewall that starts on a live minion has seen none of its connections, so the master's next
    packet on an idle one counts as a new inbound packet (salt issue 49519). The ports are those of
    the master, 4505 and 4506: here, source ports.
    """
    rules = [
        RichRule(
            address.version,
            address=str(address),
            protocol=Protocol.TCP,
            port=PortRange(port, port),
            source_port=True,
        )
        for address in sorted(set(masters))
        for port in ports
    ]
    if not rules:
        return wanted
    policy = make_policy(
        RETURN_PATH, "answers of the Salt master", "CONTINUE", "ANY", "HOST", rules
    )
    return replace(wanted, objects={**wanted.objects, policy.key: policy})
