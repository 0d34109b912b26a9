"""check_zones on one node: what firewalld's zones mean for the cluster. Pure.

The rows hold in every zone, and pods come in by zone k3s. What stands against that is said here: a
zone or a source binding that takes traffic of the cluster to other rules, a zone that lets in more
than the tables, what pods that are gone left behind, and what is redirected past every rule of the
host.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import netaddr

from k3sfw_engine.checks import zone_of_interface
from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.report import NAMES, some
from k3sfw_engine.checks.suggested_commands import OPTIONS
from k3sfw_engine.checks.verdicts import SEE, Check, Status, worst_first
from k3sfw_engine.checks.zones import bypassed_by_nat, wider_than_rows
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts, when
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.interfaces_and_routes import Interface
from k3sfw_engine.model.kubernetes_names import kind_of
from k3sfw_engine.model.zones import IPSET, ObservedZones


def judge_zones(
    at: NodeFacts, found: ObservedZones, masters: Iterable[netaddr.IPAddress] = ()
) -> tuple[Check, ...]:
    """Every answer about this node, worst first.

    masters
        The addresses of its Salt masters.
    """
    seen = ZoneFacts(at, found, tuple(masters))
    return worst_first(
        [
            *_strangers_among_pods(seen),
            *_pods_elsewhere(seen),
            *_stolen(seen),
            *wider_than_rows.wider_than_rows(seen),
            *_leftovers(seen),
            *bypassed_by_nat.redirected(seen),
            *_refused_services(seen),
        ]
    )


# -- interfaces in the wrong zone -----------------------------------------------------------------


def _strangers_among_pods(seen: ZoneFacts) -> Iterator[Check]:
    found = False
    for name in seen.outer:
        layers = [layer for layer in OPTIONS if seen.zone_of(name, layer) == ZONE]
        if not layers:
            continue
        found = True
        check = zone_of_interface.taken_for_pods(seen.at, name, when(layers))
        connection = (seen.found.connections or {}).get(name)
        if connection and connection.zone == ZONE:
            modify = f'nmcli connection modify {shlex.quote(connection.name)} connection.zone ""'
            check = replace(check, hint=f"{seen.at.typed(modify)} && {check.hint}")
        elif any(seen.found.layers[layer].default == ZONE for layer in layers):
            check = replace(check, hint=seen.at.typed("firewall-cmd --set-default-zone=public"))
        yield check
    if not found:
        evidence = f"none but interfaces of pods are in zone {ZONE}"
        yield seen.at.check(None, "zone", Status.OK, evidence=evidence)


def _pods_elsewhere(seen: ZoneFacts) -> Iterator[Check]:
    """An interface of pods or of the overlay that is not in the zone which is made for them."""
    if not seen.pods_by_interface:
        return
    for name in sorted(seen.at.cni.intersection(seen.at.network.interfaces)):
        bound = {layer: zones.bound.get(name, "") for layer, zones in seen.found.layers.items()}
        elsewhere = [layer for layer, zone in bound.items() if zone != ZONE]
        if not elsewhere:
            evidence = f"{name} is in zone {ZONE}: pods come in by it"
            yield seen.at.check(None, "zone", Status.OK, evidence=evidence)
        else:
            yield _of_pods(seen, name, bound, elsewhere)


def _of_pods(
    seen: ZoneFacts, name: str, bound: Mapping[str, str], elsewhere: Sequence[str]
) -> Check:
    others = {layer: seen.outer_in(seen.zone_of(name, layer), layer) for layer in elsewhere}
    # The layer in which somebody else is there as well, if there is one.
    layer = next((each for each in elsewhere if others[each]), elsewhere[0])
    zone, strangers = seen.zone_of(name, layer), some(others[layer])
    where = f"{name} is {_where(bound, elsewhere)}:"
    by_address = f"{where} pods are let in by zone {zone} because of their address"
    status, hint = Status.CONFLICT, _moved(seen, name, bound)
    if not bound[layer]:
        evidence = f"{where} pods behind it are judged by the default zone {zone}"
        evidence += f", as strangers are who come in by {strangers}" if strangers else ""
    elif strangers:
        evidence = f"{by_address}, and by {strangers} so is who claims one from outside"
    else:
        status, hint = Status.OK, ""
        evidence = f"{by_address}, and nobody else comes in by it"
    return seen.at.check(None, "zone", status, evidence=evidence, hint=hint)


def _where(bound: Mapping[str, str], elsewhere: Iterable[str]) -> str:
    words = {layer: f"in zone {bound[layer]}" if bound[layer] else "in no zone" for layer in bound}
    if len(set(words.values())) == 1:
        return words["runtime"] + when(elsewhere)
    return f"{words['runtime']} at runtime and {words['permanent']} permanently"


def _moved(seen: ZoneFacts, name: str, bound: Mapping[str, str]) -> str:
    """What brings an interface of pods into our zone: others let go of it first."""
    commands = [
        f"firewall-cmd {OPTIONS[layer]}--zone={zone} --remove-interface={shlex.quote(name)}"
        for layer, zone in bound.items()
        if zone not in ("", ZONE)
    ]
    typed = [seen.at.settle] if name in (seen.found.connections or {}) else []
    typed += [seen.at.typed(*commands)] if commands else []
    return " && ".join([*typed, f"salt {shlex.quote(seen.at.node.name)} state.apply k3s.firewall"])


# -- sources that catch traffic of the cluster ----------------------------------------------------


def _stolen(seen: ZoneFacts) -> Iterator[Check]:
    caught = False
    for zone, source, layers in seen.bindings:
        for check in _of_binding(seen, zone, source, layers):
            caught = True
            yield check
    if not caught:
        evidence = "no zone's source catches nodes, masters, pods or services"
        yield seen.at.check(None, "sources", Status.OK, evidence=evidence)


def _of_binding(
    seen: ZoneFacts, zone: str, source: str, layers: tuple[str, ...]
) -> Iterator[Check]:
    at = seen.at
    what = f"source {source} of zone {zone}{when(layers)}"
    networks = seen.networks_of(source)
    empty = source.startswith(IPSET) and seen.found.ipsets.get(source[len(IPSET) :]) == ()
    if not networks and not empty:
        evidence = f"{what}: whose addresses that catches cannot be told"
        hint = f"{SEE}firewall-cmd --info-zone={zone}"
        yield at.check(None, "sources", Status.UNPROVEN, evidence=evidence, hint=hint)
        return
    hosts, pods = seen.hosts_among(networks), seen.pods_among(networks)
    if not hosts and not pods:
        return
    hint = seen.without_source(zone, source, layers)
    if seen.accepts(zone, layers):
        claim = ", and of whoever claims to be one of them" if pods else ""
        status, evidence = Status.EXPOSED, f"{what} catches {some((*hosts, *pods))}: everything "
        evidence += f"of theirs is let in, whatever the rows say{claim}"
    elif pods:
        status, evidence = Status.CONFLICT, f"{what} catches {some((*pods, *hosts))}: who claims a "
        evidence += "pod's address is taken for one, by whatever interface"
        if source.startswith(IPSET):
            evidence = f"{what} catches {some((*pods, *hosts))}: pods are judged by that zone and "
            evidence += f"not by zone {ZONE}, whose policies let them pass"
    else:
        status, evidence = Status.CONFLICT, f"{what} catches {some(hosts)}: rows let them in as "
        evidence += "before, but all else of theirs, ssh too, is judged by that zone and not by "
        evidence += "that of the interface"
    yield at.check(None, "sources", status, evidence=evidence, hint=hint)


# -- what pods that are gone left behind ----------------------------------------------------------


def _leftovers(seen: ZoneFacts) -> Iterator[Check]:
    """Bindings of interfaces of pods that are gone: each costs rules, by the thousands at last."""
    there = seen.at.network.interfaces
    left: dict[str, dict[str, list[str]]] = {}
    for layer, zones in seen.found.layers.items():
        for name, zone in sorted(zones.bound.items()):
            if kind_of(name) and name not in there and name not in seen.at.cni and zone != ZONE:
                left.setdefault(zone, {}).setdefault(layer, []).append(name)
    for zone, by_layer in sorted(left.items()):
        names = sorted({name for names in by_layer.values() for name in names})
        count = "an interface" if len(names) == 1 else f"{len(names)} interfaces"
        yield seen.at.check(
            None,
            "leftovers",
            Status.CONFLICT,
            evidence=f"zone {zone} has {count} of pods that are gone{when(by_layer)}: "
            f"{some(names)}",
            hint=seen.at.typed(*(_released(zone, *each) for each in by_layer.items())),
        )
    if not left:
        evidence = "no zone has interfaces of pods that are gone"
        yield seen.at.check(None, "leftovers", Status.OK, evidence=evidence)


def _released(zone: str, layer: str, names: list[str]) -> str:
    """One command for all of them; of many it finds out the names itself."""
    command = f"firewall-cmd {OPTIONS[layer]}--zone={zone}"
    if len(names) <= NAMES:
        return " ".join([command, *(f"--remove-interface={shlex.quote(name)}" for name in names)])
    kinds = sorted(set(map(kind_of, names)))
    return (
        f"{command} $(for each in $({command} --list-interfaces); do case $each in "
        f"{'|'.join(f'{kind}*' for kind in kinds)}) ip link show $each >/dev/null 2>&1 || "
        "echo --remove-interface=$each;; esac; done)"
    )


# -- every interface ------------------------------------------------------------------------------


def interfaces(at: NodeFacts, found: ObservedZones) -> dict[str, dict[str, str]]:
    """Every interface but loopback, with its zone in each layer and what that means.

    Those of pods that are alike share a line.
    """
    seen = ZoneFacts(at, found)
    lines: dict[str, list[Interface]] = {}
    for name, link in sorted(at.network.interfaces.items()):
        if name != "lo":
            lines.setdefault(_line(seen, link), []).append(link)
    return {
        _title(line, links): {
            "runtime": seen.zone_of(links[0].name, "runtime"),
            "permanent": found.permanent.bound.get(links[0].name, ""),
            "network_manager": _managed(seen, links[0].name),
            "meaning": _meaning(seen, links[0]),
        }
        for line, links in lines.items()
    }


def _line(seen: ZoneFacts, link: Interface) -> str:
    kind = kind_of(link.name)
    if link.name in seen.at.cni or not kind:
        return link.name
    zones = sorted({layer.bound.get(link.name, "") for layer in seen.found.layers.values()} - {""})
    master = f" on {link.master}" if link.master else ""
    return f"{kind}*{master}" + (f" in zone {' and '.join(zones)}" if zones else "")


def _title(line: str, links: list[Interface]) -> str:
    return links[0].name if len(links) == 1 else f"{len(links)} {line}"


def _managed(seen: ZoneFacts, name: str) -> str:
    connections = seen.found.connections
    if connections is None:
        return ""
    if name not in connections:
        return "unmanaged"
    found = connections[name]
    if not found.name:
        return "managed (no connection)"
    return f"managed (connection {found.name}, {f'zone {found.zone}' if found.zone else 'no zone'})"


def _meaning(seen: ZoneFacts, link: Interface) -> str:
    zone = seen.zone_of(link.name, "runtime")
    if link.name in seen.at.cni:
        return "pods come in by it" if zone == ZONE else f"pods here are judged by zone {zone}"
    carrier = seen.carrier_of(link)
    if carrier:
        return f"part of {carrier}, by which its packets come in"
    if zone == ZONE:
        return "who comes in by it is taken for a pod"
    if seen.accepts(zone, ["runtime"]):
        return f"zone {zone} lets everything in"
    return f"the rows, then zone {zone}"


# -- what kube-proxy redirects --------------------------------------------------------------------


def _refused_services(seen: ZoneFacts) -> Iterator[Check]:
    """firewalld from 2.3 on can refuse what others redirect, before any policy is asked.

    It knows exceptions by port only, for everybody, so no rule of ours could let pods alone through
    (measured on 2.3.1: a pod that calls a service is rejected, whatever zone it is in).
    """
    if seen.found.strict_forward_ports:
        settle = (
            "sed -i s/^StrictForwardPorts=yes/StrictForwardPorts=no/ /etc/firewalld/firewalld.conf "
            "&& firewall-cmd --reload"
        )
        yield seen.at.check(
            None,
            "StrictForwardPorts",
            Status.BAD_SETTING,
            evidence="is yes: firewalld refuses all that others redirect, so pods reach no service "
            "and nobody reaches a NodePort, a hostPort or ServiceLB",
            hint=seen.at.typed(settle),
        )
