"""What of a host decides over its packets beside its routes: sysctls, zones, other firewalls.

It reads files, asks over D-Bus and lists nft's chains; it judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes.pod_routes import pod_targets
from k3sfw_engine.checks.routes.route_check import echo_sizes, targets
from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.zones import zones_of_interfaces
from k3sfw_engine.host.iproute import look_up, read_network
from k3sfw_engine.host.network_manager import managed_interfaces
from k3sfw_engine.host.nft_command import base_chains
from k3sfw_engine.host.other_managers import CLOUD_SETUP, UFW_FILE, read_flannel_mtu, text_of
from k3sfw_engine.host.sysctls import read_sysctls
from k3sfw_engine.model.echo import PathEchoes
from k3sfw_engine.model.host_facts import HostFacts
from k3sfw_engine.model.interfaces_and_routes import Network
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.probes.echo import PATIENCE, probe


def read_host(interfaces: Iterable[str], root: Path = Path("/")) -> HostFacts:
    """Read all facts that concern these interfaces."""
    interfaces = tuple(interfaces)
    unread: list[str] = []
    try:
        chains = base_chains()
    except EngineError as error:
        unread += error.sentences
        chains = ()
    try:
        zones, accepting = zones_of_interfaces(interfaces)
    except EngineError as error:
        unread += error.sentences
        zones, accepting = {}, frozenset[str]()
    return HostFacts(
        sysctls=read_sysctls(interfaces, root),
        zones=zones,
        accepting=accepting,
        chains=chains,
        managed=managed_interfaces(interfaces),
        flannel_mtu=read_flannel_mtu(root),
        ufw="ENABLED=yes" in text_of(root / UFW_FILE).splitlines(),
        cloud_setup=any((root / name).is_symlink() for name in CLOUD_SETUP),
        unread=tuple(unread),
    )


def observe_routes(
    tables: Tables, name: str, peers: Iterable[str], patience: tuple[float, float] = PATIENCE
) -> tuple[NodeFacts, Mapping[str, PathEchoes] | None]:
    """What is there on the node of this name, and what became of echoes to these peers.

    patience
        With an echo that is not answered.

    Raises ``NetworkUnreadable`` if the kernel's routes cannot be read.
    """
    wanted = set(peers)
    (node,) = (each for each in tables.nodes if each.name == name)
    at = NodeFacts(
        node=node,
        peers=tuple(each for each in tables.nodes if each.name in wanted),
        tables=tables,
        network=Network({}, (), (), (), (), {}),
        host=HostFacts(),
    )
    at = replace(at, network=read_network(targets(at)))
    network = at.network
    pods = look_up(pod_targets(at))
    links = sorted(
        {CNI_BRIDGE, *at.overlays.values(), *(link.name for link in at.uplinks)}.intersection(
            network.interfaces
        )
    )
    at = replace(
        at,
        network=replace(network, lookups={**network.lookups, **pods}),
        host=read_host(links),
    )
    return at, probe(echo_sizes(at), patience)
