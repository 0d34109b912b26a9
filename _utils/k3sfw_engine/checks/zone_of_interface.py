"""Verdicts on an interface that is in the wrong firewalld zone. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.suggested_commands import OPTIONS
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.firewall_objects import ZONE

# -- others that rule over packets ----------------------------------------------------------------


def judge_zones_of_uplinks(at: NodeFacts) -> Iterator[Check]:
    """The rows hold in every zone; a zone that accepts everything makes them pointless."""
    for sentence in at.host.unread:
        yield unproven(at, "firewalld", sentence)
    for link in at.uplinks:
        zone = at.host.zones.get(link.name)
        if zone == ZONE:
            yield taken_for_pods(at, link.name)
        elif zone in at.host.accepting:
            yield everything_let_in(at, link.name, zone, Status.CONFLICT)
        elif zone is not None:
            evidence = f"{link.name} is in zone {zone}"
            yield at.check(None, "zone", Status.OK, evidence=evidence)


def unproven(at: NodeFacts, description: str, sentence: str) -> Check:
    """What could not be read, out of an error's sentence."""
    evidence, _, hint = sentence.partition(". Fix: ")
    return at.check(None, description, Status.UNPROVEN, evidence=evidence, hint=hint)


def taken_for_pods(at: NodeFacts, name: str, when: str = "") -> Check:
    """An interface of something else is in the zone of the pods' interfaces.

    when
        The layers in which that is so, where more than one was looked at.
    """
    return at.check(
        None,
        "zone",
        Status.EXPOSED,
        evidence=f"{name} is in zone {ZONE}{when}: who comes in by it is taken for a pod",
        hint=f"salt {at.node.name} state.apply k3s.firewall",
    )


def everything_let_in(
    at: NodeFacts,
    name: str,
    zone: str,
    status: Status,
    layers: tuple[str, ...] = ("runtime", "permanent"),
    when: str = "",
) -> Check:
    """An interface of something else is in a zone that accepts everything."""
    commands = [
        f"firewall-cmd {option}--zone=public --change-interface={shlex.quote(name)}"
        for layer, option in OPTIONS.items()
        if layer in layers
    ]
    return at.check(
        None,
        "zone",
        status,
        evidence=f"{name} is in zone {zone}{when}, which lets everything in: no row closes "
        "anything",
        hint=at.typed(*commands),
    )
