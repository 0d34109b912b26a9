"""The verdict on the sysctls that forwarding between pods and nodes needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import messages
from k3sfw_engine.checks.suggested_commands import ROUTES_SLS
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.sysctl_names import (
    BRIDGE_CALLS,
    FORWARDING,
    dotted,
    forwarding_of,
    rp_filter_of,
)


def judge_sysctls(at: NodeFacts) -> Iterator[Check]:
    """Every sysctl that must be on, and reverse-path filtering."""
    links = [CNI_BRIDGE, *at.overlays.values(), *(link.name for link in at.uplinks)]
    yield from _must_be_on(at, FORWARDING[4], "pods reach nothing outside this node")
    # Each interface has its own switch, for the packets that arrive on it.
    if at.host.sysctls.get(FORWARDING[4]) == "1":
        for link in links:
            yield from _forwarding(at, forwarding_of(link), link)
    if any(cidr.version == 6 for cidr in at.tables.pod_cidrs):
        yield from _must_be_on(at, FORWARDING[6], "pods reach nothing outside this node by IPv6")
    for family, name in BRIDGE_CALLS.items():
        if any(cidr.version == family for cidr in at.tables.pod_cidrs):
            consequence = "a pod that calls a service on its own node gets no answer"
            yield from _must_be_on(at, name, consequence)
    yield from _reverse_paths(at)


def _must_be_on(at: NodeFacts, name: str, consequence: str) -> Iterator[Check]:
    """A sysctl that must be 1; a kernel that does not have it does not need it."""
    value = at.host.sysctls.get(name)
    if value == "1":
        yield at.check(None, dotted(name), Status.OK, "is 1")
    elif value is not None:
        problem = messages.sysctl_off(at.node.name, value, consequence)
        yield at.check(None, dotted(name), Status.BAD_SETTING, problem, sls=ROUTES_SLS)


def _forwarding(at: NodeFacts, name: str, link: str) -> Iterator[Check]:
    if at.host.sysctls.get(name) == "0":
        problem = messages.forwarding_off(at.node.name, dotted(name), link)
        yield at.check(None, dotted(name), Status.BAD_SETTING, problem)


def _reverse_paths(at: NodeFacts) -> Iterator[Check]:
    """Strict filtering drops what arrives on a link other than the one that replies leave by."""
    for link in at.uplinks:
        names = [rp_filter_of(each) for each in ("all", link.name)]
        # The kernel uses the larger of both values: 2 is loose and beats 1, which is strict.
        value = max(at.host.sysctls.get(name, "0") for name in names)
        if value != "1":
            continue
        others = {
            at.lookup(address).device
            for _peer, address in at.addresses_of(at.peers)
            if address.version == 4 and not at.lookup(address).error
        } - {link.name}
        if others and 4 in {address.version for address in at.own}:
            problem = messages.strict_reverse_path(at.node.name, link.name, others)
            name = dotted(names[1])
            yield at.check(None, name, Status.BAD_SETTING, problem, sls=ROUTES_SLS)
