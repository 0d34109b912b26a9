"""Every sentence of check_zones: what was observed, and what fixes it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from k3sfw_engine.checks.report import join_some
from k3sfw_engine.checks.suggested_commands import (
    apply_firewall,
    apply_routes,
    firewall_cmd,
    run_on,
    write_into_site,
)
from k3sfw_engine.checks.zone_of_interface import GUESTS_MAY, when
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.rows import PortRange, Protocol

_LIMITS = "docs/limits.md of k3sfw"
_FORWARDING_DECIDES = (
    "firewalld's forwarding rules decide, and no row does (StrictForwardPorts=yes)"
)
_NO_STRICT_FORWARD_PORTS = (
    "sed -i s/^StrictForwardPorts=yes/StrictForwardPorts=no/ /etc/firewalld/firewalld.conf "
    "&& firewall-cmd --reload"
)


# -- interfaces of pods ---------------------------------------------------------------------------


def pods_in_default_zone(where: str, zone: str, others: str, fix: str) -> Problem:
    too = f", and so are the hosts that come in by {others}" if others else ""
    return Problem(f"{where} its pods are judged by the default zone {zone}{too}", fix)


def pods_by_address(where: str, zone: str, others: str, fix: str) -> Problem:
    evidence = f"{where} pods are allowed by zone {zone} because of their address"
    if not others:
        return Problem(f"{evidence}, and nothing else comes in by it")
    return Problem(f"{evidence}, and by {others} so is any host that spoofs one", fix)


def where_bound(name: str, bound: Mapping[str, str], elsewhere: Iterable[str]) -> str:
    words = {layer: f"in zone {zone}" if zone else "in no zone" for layer, zone in bound.items()}
    if len(set(words.values())) == 1:
        return f"{name} is {words['runtime']}{when(elsewhere)}:"
    return f"{name} is {words['runtime']} at runtime and {words['permanent']} permanently:"


def move_to_pod_zone(node: str, name: str, bound: Mapping[str, str], managed: bool) -> str:
    """The commands that move an interface of pods to zone k3s, out of other zones first."""
    commands = [
        firewall_cmd(layer, zone, f"--remove-interface={shlex.quote(name)}")
        for layer, zone in bound.items()
        if zone not in ("", ZONE)
    ]
    steps = [apply_routes(node)] if managed else []
    steps += [run_on(node, *commands)] if commands else []
    return " && ".join([*steps, apply_firewall(node)])


# -- sources of zones -----------------------------------------------------------------------------


def remove_source(
    node: str, zone: str, source: str, layers: Iterable[str], kept: Iterable[str]
) -> str:
    """``kept`` are the commands that keep ssh open where its packets are judged then."""
    option = f"--remove-source={shlex.quote(source)}"
    return run_on(node, *kept, *(firewall_cmd(layer, zone, option) for layer in layers))


def source_unreadable(what: str, zone: str) -> Problem:
    return Problem(
        f"{what}: the addresses that it matches cannot be read",
        see=f"firewall-cmd --info-zone={shlex.quote(zone)}",
    )


def source_accepts_all(what: str, hosts: Sequence[str], pods: Sequence[str], fix: str) -> Problem:
    spoofed = ", and from any host that spoofs one of them" if pods else ""
    return Problem(
        f"{what} matches {join_some((*hosts, *pods))}: everything from them is accepted, whatever "
        f"the rows say{spoofed}",
        fix,
    )


def source_of_pods(what: str, hosts: Sequence[str], pods: Sequence[str], fix: str) -> Problem:
    return Problem(
        f"{what} matches {join_some((*pods, *hosts))}: any host that spoofs a pod's address is "
        "treated as a pod, on every interface",
        fix,
    )


def ipset_source_of_pods(what: str, hosts: Sequence[str], pods: Sequence[str], fix: str) -> Problem:
    return Problem(
        f"{what} matches {join_some((*pods, *hosts))}: pods are judged by that zone and not by "
        f"zone {ZONE}, whose policies allow them",
        fix,
    )


def source_of_hosts(what: str, hosts: Sequence[str], fix: str) -> Problem:
    return Problem(
        f"{what} matches {join_some(hosts)}: rows allow them as before, but all their other "
        "packets, ssh too, are judged by that zone and not by that of the interface",
        fix,
    )


# -- leftovers ------------------------------------------------------------------------------------


def leftover_interfaces(
    zone: str, names: Sequence[str], layers: Iterable[str], fix: str
) -> Problem:
    count = "an interface" if len(names) == 1 else f"{len(names)} interfaces"
    return Problem(
        f"zone {zone} has {count} of pods that no longer exist{when(layers)}: {join_some(names)}",
        fix,
    )


def strict_forward_ports(node: str, kept: Iterable[str]) -> Problem:
    """``kept`` are the commands that keep ssh open, should only the runtime have opened it."""
    return Problem(
        "is yes: firewalld rejects what others redirect, so pods reach no service, and no client "
        "reaches a NodePort, a hostPort or ServiceLB",
        run_on(node, *kept, _NO_STRICT_FORWARD_PORTS),
    )


# -- zones that are wider than the rows -----------------------------------------------------------


def rows_of_other_role_unknown() -> Problem:
    return Problem(
        "zones were compared with the rows of this node only: the pillar that the master compiled "
        "for this check has no rows of the other role (k3s:peer_ports)",
        "include k3s.ports in the pillar of this minion, with pillar_cache: False",
    )


def allowed_by_source(
    zone: str, source: str, layers: Iterable[str], rows: str, fix: str
) -> Problem:
    return Problem(
        f"zone {zone} accepts everything from {source}{when(layers)}; {rows} fewer sources", fix
    )


def close_ssh(closing: str) -> str:
    return f"make sure that every client of ssh is among the sources of the row, then: {closing}"


def guests_by_source(zone: str, source: str, bridge: str, layers: Iterable[str]) -> Problem:
    return Problem(
        f"zone {zone} accepts everything from {source}{when(layers)}, the containers behind "
        f"{bridge}: no row restricts them",
        GUESTS_MAY,
    )


def opened_to_more(zone: str, via: str, to: str, moment: str, rows: str, fix: str) -> Problem:
    return Problem(f"zone {zone}{via} opens these ports to {to}{moment}; {rows} fewer sources", fix)


def opened_to_spoofed_pods(zone: str, via: str, networks: str, moment: str, fix: str) -> Problem:
    return Problem(
        f"zone {zone}{via} accepts everything from {networks}{moment}, and so from any host that "
        f"spoofs such an address; pods themselves come in by zone {ZONE}",
        fix,
    )


def harmless(zone: str, via: str, ports: Sequence[str], accepting: bool) -> Problem:
    own = "opens no port"
    if accepting:
        own = "accepts everything, but no interface uses it apart from those reported separately"
    elif ports:
        own = f"opens {join_some(ports)}: no row restricts these"
    return Problem(f"zone {zone}{via} {own}")


# -- rows that NAT bypasses -----------------------------------------------------------------------


def row_bypassed(row: str, redirections: Sequence[str], strict: bool) -> Problem:
    """A row that allows fewer sources than NAT does, before any rule of this host is asked."""
    redirect = _redirect(redirections)
    if strict:
        return Problem(f"{redirect} the ports of row {row}: {_FORWARDING_DECIDES}", see=_LIMITS)
    return Problem(
        f"row {row} cannot restrict these ports: {redirect} them before any rule of this host",
        see=_LIMITS,
    )


def row_agrees_with_nat(row: str, redirections: Sequence[str]) -> Problem:
    return Problem(
        f"row {row} allows the same sources; {_redirect(redirections)} these ports before any rule "
        "of this host"
    )


def ports_open_past_rows(ports: Sequence[str], strict: bool) -> Problem:
    verb = "is" if len(ports) == 1 else "are"
    if strict:
        return Problem(
            f"{join_some(ports)} {verb} redirected, and no row names that: {_FORWARDING_DECIDES}",
            see=_LIMITS,
        )
    return Problem(
        f"{join_some(ports)} {verb} open to everyone: NAT redirects before any rule of this host, "
        "and no row names that",
        see=_LIMITS,
    )


def host_ports_lost(pod: str, targets: Mapping[str, Sequence[str]], fix: str) -> Problem:
    ports = (f"{port} ({' and '.join(found)})" for port, found in targets.items())
    return Problem(
        f"no rule redirects {join_some(tuple(ports))} to pod {pod} any more, as after a reload or "
        "restart of a firewalld before 2.0",
        fix,
    )


def _redirect(redirections: Sequence[str]) -> str:
    return f"{' and '.join(redirections)} {'redirects' if len(redirections) == 1 else 'redirect'}"


# -- ports of IPVS --------------------------------------------------------------------------------


def ipvs_not_listed() -> Problem:
    return Problem(
        "kube-proxy uses IPVS here, whose services cannot be read: unlike with DNAT, a NodePort "
        "and the address of a LoadBalancer need a row",
        see="ipvsadm -Ln on this node",
    )


def ipvs_without_a_row(protocol: Protocol, ports: Sequence[PortRange]) -> Problem:
    columns = {
        "protocol": protocol.value,
        "port": ports,
        "source": "clients",
        "destination": "any",
        "description": "services by IPVS",
    }
    return Problem(
        f"kube-proxy serves {join_some(ports)}/{protocol.value} by IPVS, so that the host's rules "
        "decide, and no row opens them to clients",
        write_into_site("ports", "manager", f"ipvs_{protocol.value}", value=columns),
    )


# -- every interface ------------------------------------------------------------------------------

PODS_COME_IN = "pods come in by it"
TREATED_AS_PODS = "any host on that link is treated as a pod"


def pods_elsewhere(zone: str) -> str:
    return f"pods here are judged by zone {zone}"


def part_of(carrier: str) -> str:
    return f"part of {carrier}, by which its packets come in"


def zone_accepts_all(zone: str) -> str:
    return f"zone {zone} accepts everything"


def rows_then_zone(zone: str) -> str:
    return f"the rows, then zone {zone}"
