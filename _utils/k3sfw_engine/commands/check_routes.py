"""The command check_routes: read this node's network, send echoes to peers, and judge both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.report import Report
from k3sfw_engine.checks.routes.node_routes import doubtful_addresses
from k3sfw_engine.checks.routes.other_firewalls import is_cut_off
from k3sfw_engine.checks.routes.overlay_packets import tcp_questions
from k3sfw_engine.checks.routes.pod_routes import pod_targets
from k3sfw_engine.checks.routes.route_check import echo_sizes, judge_routes, targets
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.zones import read_permanent_zones, read_runtime_zones
from k3sfw_engine.host.connected_addresses import read_connected_addresses
from k3sfw_engine.host.filter_chains import read_filter_chains
from k3sfw_engine.host.flannel_files import data_folder, read_flannel_mtu
from k3sfw_engine.host.iproute import look_up, read_network
from k3sfw_engine.host.k3s_records import read_cluster_dns
from k3sfw_engine.host.k3s_service import read_k3s_service, runs_openrc
from k3sfw_engine.host.listeners import ssh_ports
from k3sfw_engine.host.network_manager import managed_interfaces, read_connections
from k3sfw_engine.host.other_managers import (
    CLOUD_SETUP,
    UFW_FILE,
    networkd_drops_routes,
    read_nm_override,
    read_rule_files,
)
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.host.sysctls import read_sysctls
from k3sfw_engine.host.text_files import text_of
from k3sfw_engine.model.echo import PathEchoes
from k3sfw_engine.model.host_facts import HostFacts
from k3sfw_engine.model.interfaces_and_routes import Network
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.model.zones import ObservedZones
from k3sfw_engine.probes.connect import ask
from k3sfw_engine.probes.defaults import ECHO_PATIENCE
from k3sfw_engine.probes.echo import probe, probe_without_router


def check_routes(tables: Tables, node: str, only: Iterable[str] = ()) -> Report:
    """Check every route of this node, and by echoes the paths to its peers.

    node
        This node's minion id.
    only
        The peers to check the routes to; empty for all.

    Raises ``NetworkUnreadable`` if the kernel's routes cannot be read.
    """
    others = {each.name for each in tables.nodes} - {node}
    peers = others.intersection(only) if only else others
    at, paths, zones = observe_routes(tables, node, peers)
    scope = f"{len(peers)} of {len(others)} peers"
    return Report(judge_routes(at, paths, zones), scope, tables.notices)


def observe_routes(
    tables: Tables, name: str, peers: Iterable[str], patience: tuple[float, float] = ECHO_PATIENCE
) -> tuple[NodeFacts, Mapping[str, PathEchoes] | None, ObservedZones | None]:
    """Read the network of this node and its zones, and send echoes to these peers.

    patience
        Seconds to wait for an echo that is not answered, and for a second one.

    The echoes are ``None`` if none could be sent, the zones if they could not be read.

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
        overlay=read_overlay(),
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
    zones, unread = _read_zones(at)
    at = replace(at, host=replace(at.host, unread=(*at.host.unread, *unread)))
    paths = probe(echo_sizes(at), patience)
    direct = probe_without_router(doubtful_addresses(at, paths), patience)
    questions = tcp_questions(at, paths)
    answers = zip(questions, ask(questions, patience=patience[1]))
    tcp = {question.address: answer.outcome for question, answer in answers}
    return replace(at, direct=direct, tcp=tcp), paths, zones


def read_host(interfaces: Iterable[str], root: Path = Path("/")) -> HostFacts:
    """Read the facts of this host that concern these interfaces."""
    interfaces = tuple(interfaces)
    unread: tuple[Problem, ...]
    try:
        chains, unread = read_filter_chains(root)
    except EngineError as error:
        chains, unread = (), error.problems
    return HostFacts(
        sysctls=read_sysctls(interfaces, root),
        chains=chains,
        rule_files=read_rule_files(root),
        managed=managed_interfaces(interfaces),
        nm_override=read_nm_override(root),
        networkd=networkd_drops_routes(root),
        flannel_mtu=read_flannel_mtu(root),
        cluster_dns=read_cluster_dns(data_folder(root)),
        ssh_ports=ssh_ports(),
        k3s_service=read_k3s_service(root),
        openrc=runs_openrc(root),
        connected=read_connected_addresses(),
        ufw="ENABLED=yes" in text_of(root / UFW_FILE).splitlines(),
        cloud_setup=any((root / name).is_symlink() for name in CLOUD_SETUP),
        unread=unread,
    )


def _read_zones(at: NodeFacts) -> tuple[ObservedZones | None, tuple[Problem, ...]]:
    if is_cut_off(at):  # Whatever the zones allow, the drop table drops, and that is reported.
        return None, ()
    try:
        with Bus() as bus:
            runtime, default, _strict = read_runtime_zones(bus)
        permanent = read_permanent_zones(default)
    except EngineError as error:
        return None, error.problems
    connections = read_connections(link.name for link in at.uplinks)
    return ObservedZones(runtime, permanent, connections=connections), ()
