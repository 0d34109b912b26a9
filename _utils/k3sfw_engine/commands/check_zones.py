"""The command check_zones: read firewalld's zones on this node and judge them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.report import Report
from k3sfw_engine.checks.zones.every_interface import list_interfaces
from k3sfw_engine.checks.zones.every_target import list_targets
from k3sfw_engine.checks.zones.zone_check import judge_zones
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.service_definitions import read_services
from k3sfw_engine.firewalld.zones import read_ipsets, read_permanent_zones, read_runtime_zones
from k3sfw_engine.healing.lost_host_ports import find_lost_host_ports
from k3sfw_engine.host.iproute import read_network
from k3sfw_engine.host.ipvs import read_ipvs
from k3sfw_engine.host.listeners import ssh_ports
from k3sfw_engine.host.nat import read_redirections
from k3sfw_engine.host.network_manager import read_connections
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.host_facts import HostFacts
from k3sfw_engine.model.interfaces_and_routes import Interface
from k3sfw_engine.model.kubernetes_names import is_interface_of_one_pod
from k3sfw_engine.model.nat import local_addresses
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.model.zones import ObservedZones, ipset_names, service_names


def check_zones(
    tables: Tables, node: str, masters: Iterable[netaddr.IPAddress] = ()
) -> tuple[Report, dict[str, Any]]:
    """Check the zones of this node; return the report, and a list of what was found.

    The list has every interface with its zone, and every zone in use with its target.

    node
        This node's minion id.
    masters
        The addresses of its Salt masters.

    Raises ``NetworkUnreadable`` or ``FirewalldUnavailable`` if nothing can be judged.
    """
    at, found = observe_zones(tables, node)
    scope = f"{len(at.network.interfaces) - 1} interfaces, {len(found.zones)} zones in use"
    report = Report(judge_zones(at, found, masters), scope, tables.notices)
    return report, {"interfaces": list_interfaces(at, found), "zones": list_targets(found)}


def observe_zones(tables: Tables, name: str) -> tuple[NodeFacts, ObservedZones]:
    """Read the interfaces and zones of this node.

    Raises ``NetworkUnreadable`` or ``FirewalldUnavailable`` if they cannot be read.
    """
    (node,) = (each for each in tables.nodes if each.name == name)
    network = read_network(())
    host = HostFacts(ssh_ports=ssh_ports())
    at = NodeFacts(node, (), tables, network, host, read_overlay())
    with Bus() as bus:
        runtime, default, strict = read_runtime_zones(bus)
        permanent = read_permanent_zones(default)
        zones = [*runtime.zones.values(), *permanent.zones.values()]
        services = read_services(bus, {n for zone in zones for n in service_names(zone)})
        ipsets = read_ipsets(bus, {n for zone in zones for n in ipset_names(zone)})
    return at, ObservedZones(
        runtime=runtime,
        permanent=permanent,
        services=services,
        ipsets=ipsets,
        connections=read_connections(_worth_asking(network.interfaces)),
        redirected=read_redirections(local_addresses(node, tables, network)),
        ipvs=read_ipvs(),
        lost_host_ports=find_lost_host_ports(),
        strict_forward_ports=strict,
    )


def _worth_asking(interfaces: Mapping[str, Interface]) -> list[str]:
    # A node has hundreds of pods' interfaces, and NetworkManager leaves them alone.
    return sorted(n for n in interfaces if n != "lo" and not is_interface_of_one_pod(n))
