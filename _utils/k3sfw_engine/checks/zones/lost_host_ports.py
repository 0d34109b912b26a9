"""The verdict on hostPorts of living pods whose rules are gone, so that no packet arrives. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.suggested_commands import heal
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.checks.zones import messages
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts


def judge_lost_host_ports(seen: ZoneFacts) -> Iterator[Check]:
    """A verdict for each pod that lost its hostPorts, and for each one that is not known."""
    found = seen.found.lost_host_ports
    for problem in found.unread:
        yield seen.at.check(None, "hostPorts", Status.UNPROVEN, problem)
    for pod in found.pods:
        problem = messages.host_ports_lost(pod.pod, pod.targets, heal(seen.at.node.name))
        yield seen.at.check(None, "hostPorts", Status.LOST, problem)
