"""The command check_zones: read the zones of this node, and judge them."""

from __future__ import annotations

from collections.abc import Mapping

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.service_definitions import read_services
from k3sfw_engine.firewalld.zones import read_ipsets, read_permanent_zones, read_runtime_zones
from k3sfw_engine.host.iproute import read_network
from k3sfw_engine.host.nat import read_redirections
from k3sfw_engine.host.network_manager import read_connections
from k3sfw_engine.model.host_facts import HostFacts
from k3sfw_engine.model.interfaces_and_routes import Interface, Network
from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface
from k3sfw_engine.model.nat import LocalAddresses
from k3sfw_engine.model.rows import Node, Tables
from k3sfw_engine.model.zones import ObservedZones, ipset_names, service_names


def observe_zones(tables: Tables, name: str) -> tuple[NodeFacts, ObservedZones]:
    """What is there on the node of this name.

    Raises ``NetworkUnreadable`` or ``FirewalldUnavailable`` if there is nothing to be judged.
    """
    (node,) = (each for each in tables.nodes if each.name == name)
    network = read_network(())
    at = NodeFacts(node, (), tables, network, HostFacts())
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
        connections=read_connections(_asked_about(network.interfaces)),
        redirected=read_redirections(_here(node, tables, network)),
        strict_forward_ports=strict,
    )


def _asked_about(interfaces: Mapping[str, Interface]) -> list[str]:
    # Hundreds of pods' interfaces are a line each, and have nothing of their own to say.
    return sorted(name for name in interfaces if name != "lo" and not name.startswith("veth"))


def _here(node: Node, tables: Tables, network: Network) -> LocalAddresses:
    """The addresses at which other hosts reach this node."""
    own = {
        address.ip
        for name, link in network.interfaces.items()
        if name != "lo" and not is_kubernetes_interface(name)
        for address in link.addresses
    }
    return LocalAddresses(
        frozenset({*own, *node.addresses}), (*tables.pod_cidrs, *tables.service_cidrs)
    )
