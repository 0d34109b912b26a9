"""The verdict on services that kube-proxy serves by IPVS: the host's rules decide on them. Pure.

With iptables or nftables kube-proxy redirects packets before any rule of the host; with IPVS its
addresses are the host's own, and packets to them meet INPUT, as those to any other service.
"""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.checks.zones import messages
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts
from k3sfw_engine.model.ipvs import VirtualService
from k3sfw_engine.model.port_ranges import in_ranges
from k3sfw_engine.model.rows import Protocol


def judge_ipvs(seen: ZoneFacts) -> Iterator[Check]:
    """A verdict on the ports of IPVS that other hosts may ask for; none without IPVS."""
    ipvs = seen.found.ipvs
    if ipvs.services is None:
        if ipvs.used:
            problem = messages.ipvs_not_listed()
            yield seen.at.check(None, "IPVS", Status.UNPROVEN, problem)
        return
    outer = [each for each in ipvs.services if _is_for_others(seen, each)]
    if not outer:
        return
    closed: dict[Protocol, set[int]] = {}
    for each in outer:
        if not seen.allowed_here.rows_at(each.protocol, each.port):
            closed.setdefault(each.protocol, set()).add(each.port)
    for protocol, ports in sorted(closed.items()):
        problem = messages.ipvs_without_a_row(protocol, in_ranges(ports))
        yield seen.at.check(None, "IPVS", Status.CONFLICT, problem)
    if not closed:
        evidence = "rows name every port that kube-proxy serves by IPVS"
        yield seen.at.check(None, "IPVS", Status.OK, evidence)


def _is_for_others(seen: ZoneFacts, each: VirtualService) -> bool:
    """Whether hosts outside of the cluster reach the service: not at its cluster address."""
    tables = seen.at.tables
    inside = (*tables.service_cidrs, *tables.pod_cidrs)
    return not each.address.is_loopback() and not any(each.address in cidr for cidr in inside)
