"""The verdict on pillar's networks and backend where this node shows other ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import messages
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.addresses import FAMILIES, Networks


def judge_pillar(at: NodeFacts) -> Iterator[Check]:
    """Compare what K3s and flannel wrote down here with pillar; nothing where nothing is known."""
    for problem in at.overlay.unread:
        yield at.check(None, "flannel", Status.UNPROVEN, problem)
    yield from _pod_networks(at)
    yield from _service_networks(at)
    yield from _backend(at)


def _pod_networks(at: NodeFacts) -> Iterator[Check]:
    here, said = _sorted(at.overlay.networks), _sorted(at.tables.pod_cidrs)
    if not here:
        return
    texts = ", ".join(map(str, here))
    if here == said:
        yield at.check(None, "pod_cidrs", Status.OK, f"flannel has {texts}")
    else:
        problem = messages.other_pod_networks(here, said)
        yield at.check(None, "pod_cidrs", Status.CONFLICT, problem, address=texts)


def _service_networks(at: NodeFacts) -> Iterator[Check]:
    cidrs = at.tables.service_cidrs
    strangers = [each for each in at.host.cluster_dns if not any(each in cidr for cidr in cidrs)]
    for address in strangers:
        problem = messages.other_service_network(address, cidrs)
        yield at.check(None, "service_cidrs", Status.CONFLICT, problem, address=str(address))
    if at.host.cluster_dns and not strangers:
        evidence = f"the cluster's DNS is at {', '.join(map(str, at.host.cluster_dns))}"
        yield at.check(None, "service_cidrs", Status.OK, evidence)


def _backend(at: NodeFacts) -> Iterator[Check]:
    here, said = at.overlay.backend, at.tables.flannel_backend
    if here is said:
        yield at.check(None, "flannel_backend", Status.OK, f"{here.value} carries the pods")
    elif here is not None:
        problem = messages.other_backend(here, said)
        yield at.check(None, "flannel_backend", Status.CONFLICT, problem)


def _sorted(networks: Networks) -> Networks:
    found: set[netaddr.IPNetwork] = set(networks)
    return tuple(each for family in FAMILIES for each in sorted(found) if each.version == family)
