"""check_zones on one node: what firewalld's zones mean for the rows and for pods. Pure.

The rows hold in every zone, and pods arrive in zone k3s. The check reports what works against that:
an interface or a source that puts traffic of the cluster under other rules, a zone that is wider
than the tables, interfaces that pods left behind, ports that NAT redirects past every rule, and
hostPorts that it does not redirect any more.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

import netaddr

from k3sfw_engine.checks.defaults import NAMES_IN_A_SENTENCE
from k3sfw_engine.checks.kept_ssh import keep_ssh
from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.report import join_some
from k3sfw_engine.checks.suggested_commands import firewall_cmd
from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.checks.zone_of_interface import judge_pod_zone, when
from k3sfw_engine.checks.zones import messages
from k3sfw_engine.checks.zones.bypassed_by_nat import judge_redirections
from k3sfw_engine.checks.zones.lost_host_ports import judge_lost_host_ports
from k3sfw_engine.checks.zones.needed_by_ipvs import judge_ipvs
from k3sfw_engine.checks.zones.wider_than_rows import judge_wide_zones
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.kubernetes_names import kind_of
from k3sfw_engine.model.zones import IPSET, ObservedZones


def judge_zones(
    at: NodeFacts, found: ObservedZones, masters: Iterable[netaddr.IPAddress] = ()
) -> tuple[Check, ...]:
    """Every verdict on this node, the worst first.

    masters
        The addresses of its Salt masters.
    """
    seen = ZoneFacts(at, found, tuple(masters))
    return worst_first(
        [
            *_others_in_pod_zone(seen),
            *_pods_elsewhere(seen),
            *_sources(seen),
            *judge_wide_zones(seen),
            *_leftovers(seen),
            *judge_redirections(seen),
            *judge_ipvs(seen),
            *judge_lost_host_ports(seen),
            *_strict_forward_ports(seen),
        ]
    )


# -- interfaces in the wrong zone -----------------------------------------------------------------


def _others_in_pod_zone(seen: ZoneFacts) -> Iterator[Check]:
    found = [check for name in seen.outer for check in judge_pod_zone(seen.at, seen.found, name)]
    yield from found
    if not found:
        evidence = f"only interfaces of pods are in zone {ZONE}"
        yield seen.at.check(None, "zone", Status.OK, evidence)


def _pods_elsewhere(seen: ZoneFacts) -> Iterator[Check]:
    """Interfaces of pods or of the overlay that are not in zone k3s."""
    if not seen.pods_by_interface:
        return
    for name in sorted(seen.at.cni.intersection(seen.at.network.interfaces)):
        bound = {layer: zones.bound.get(name, "") for layer, zones in seen.found.layers.items()}
        elsewhere = [layer for layer, zone in bound.items() if zone != ZONE]
        if not elsewhere:
            evidence = f"{name} is in zone {ZONE}: pods come in by it"
            yield seen.at.check(None, "zone", Status.OK, evidence)
        else:
            yield _of_pods(seen, name, bound, elsewhere)


def _of_pods(
    seen: ZoneFacts, name: str, bound: Mapping[str, str], elsewhere: Sequence[str]
) -> Check:
    others = {layer: seen.outer_in(seen.zone_of(name, layer), layer) for layer in elsewhere}
    # The layer in which the zone has other interfaces too, if there is one.
    layer = next((each for each in elsewhere if others[each]), elsewhere[0])
    zone, beside = seen.zone_of(name, layer), join_some(others[layer])
    where = messages.where_bound(name, bound, elsewhere)
    managed = name in (seen.found.connections or {})
    fix = messages.move_to_pod_zone(seen.at.node.name, name, bound, managed)
    if not bound[layer]:
        problem = messages.pods_in_default_zone(where, zone, beside, fix)
    else:
        problem = messages.pods_by_address(where, zone, beside, fix)
    status = Status.CONFLICT if problem.fix else Status.OK
    return seen.at.check(None, "zone", status, problem)


# -- sources of zones -----------------------------------------------------------------------------


def _sources(seen: ZoneFacts) -> Iterator[Check]:
    """Sources that take traffic of the cluster to the rules of another zone."""
    found = [
        check
        for zone, source, layers in seen.bindings
        for check in _of_source(seen, zone, source, layers)
    ]
    yield from found
    if not found:
        evidence = "no zone's source matches nodes, masters, pods or services"
        yield seen.at.check(None, "sources", Status.OK, evidence)


def _of_source(seen: ZoneFacts, zone: str, source: str, layers: tuple[str, ...]) -> Iterator[Check]:
    what = f"source {source} of zone {zone}{when(layers)}"
    networks = seen.networks_of(source)
    empty = source.startswith(IPSET) and seen.found.ipsets.get(source[len(IPSET) :]) == ()
    if not networks and not empty:
        problem = messages.source_unreadable(what, zone)
        yield seen.at.check(None, "sources", Status.UNPROVEN, problem)
        return
    hosts, pods = seen.hosts_among(networks), seen.pods_among(networks)
    if not hosts and not pods:
        return
    status = Status.CONFLICT
    kept = seen.keeping_ssh(source, zone, layers)
    fix = messages.remove_source(seen.at.node.name, zone, source, layers, kept)
    if seen.accepts(zone, layers):
        status, problem = Status.EXPOSED, messages.source_accepts_all(what, hosts, pods, fix)
    elif pods and source.startswith(IPSET):
        problem = messages.ipset_source_of_pods(what, hosts, pods, fix)
    elif pods:
        problem = messages.source_of_pods(what, hosts, pods, fix)
    else:
        problem = messages.source_of_hosts(what, hosts, fix)
    yield seen.at.check(None, "sources", status, problem)


# -- interfaces that pods left behind -------------------------------------------------------------


def _leftovers(seen: ZoneFacts) -> Iterator[Check]:
    """Interfaces of pods that no longer exist: each has rules, which add up to thousands."""
    existing = seen.at.network.interfaces
    left: dict[str, dict[str, list[str]]] = {}
    for layer, zones in seen.found.layers.items():
        for name, zone in sorted(zones.bound.items()):
            of_pods = kind_of(name) and name not in seen.at.cni
            if of_pods and name not in existing and zone != ZONE:
                left.setdefault(zone, {}).setdefault(layer, []).append(name)
    for zone, by_layer in sorted(left.items()):
        names = sorted({name for names in by_layer.values() for name in names})
        fix = seen.at.run_here(*(_release(zone, *each) for each in by_layer.items()))
        problem = messages.leftover_interfaces(zone, names, by_layer, fix)
        yield seen.at.check(None, "leftovers", Status.CONFLICT, problem)
    if not left:
        evidence = "no zone has interfaces of pods that no longer exist"
        yield seen.at.check(None, "leftovers", Status.OK, evidence)


def _release(zone: str, layer: str, names: list[str]) -> str:
    """One command that removes all of them; if there are many, it finds the names itself."""
    if len(names) <= NAMES_IN_A_SENTENCE:
        options = (f"--remove-interface={shlex.quote(name)}" for name in names)
        return firewall_cmd(layer, zone, *options)
    command = firewall_cmd(layer, zone)
    kinds = sorted(set(map(kind_of, names)))
    return (
        f"{command} $(for each in $({command} --list-interfaces); do case $each in "
        f"{'|'.join(f'{kind}*' for kind in kinds)}) ip link show $each >/dev/null 2>&1 || "
        "echo --remove-interface=$each;; esac; done)"
    )


# -- what kube-proxy redirects --------------------------------------------------------------------


def _strict_forward_ports(seen: ZoneFacts) -> Iterator[Check]:
    """firewalld from 2.3 on can reject what others redirect, before any policy decides.

    Its exceptions are by port, for every source, so no rule of ours could allow pods alone
    (measured on 2.3.1: a pod that calls a service is rejected, whatever zone it is in).
    """
    if seen.found.strict_forward_ports:
        zones = sorted({seen.zone_of(link.name, "permanent") for link in seen.at.uplinks})
        kept = [
            command
            for zone in zones
            for command in keep_ssh(seen.at.host, seen.found, zone, ["permanent"])
        ]
        problem = messages.strict_forward_ports(seen.at.node.name, kept)
        yield seen.at.check(None, "StrictForwardPorts", Status.BAD_SETTING, problem)
