"""Live connections of ssh, Salt, etcd and the API server, which no apply may close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

import netaddr
import psutil

from k3sfw_engine.errors import NetworkUnreadable
from k3sfw_engine.host.iproute import look_up
from k3sfw_engine.model.critical_processes import (
    SALT_MASTER,
    CriticalService,
    is_ssh,
    service_of_listener,
)
from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection
from k3sfw_engine.model.rows import Role


@dataclass(frozen=True)
class _Socket:
    port: int
    process: str
    listens: bool
    local: netaddr.IPAddress
    peer: netaddr.IPAddress | None


def read_never_close() -> HostActivity:
    """Read the inbound connections to ssh, a Salt master, etcd and an API server on this host.

    Connections of the host with itself do not count.
    """
    sockets = tuple(_sockets())
    services = dict(_services(sockets))
    own = frozenset(_own_addresses())
    flows = {
        LiveConnection(each.port, services[each.port], netaddr.IPNetwork(each.peer), each.local)
        for each in sockets
        if each.port in services
        and each.peer is not None
        and each.peer not in own
        and not each.peer.is_loopback()
    }
    return HostActivity(
        connections=tuple(sorted(flows)),
        ssh_ports=frozenset(port for port, what in services.items() if what is CriticalService.SSH),
        k3s_roles=frozenset(_roles({each.process for each in sockets})),
    )


def read_ways_in(flows: Iterable[LiveConnection]) -> Mapping[LiveConnection, frozenset[str]]:
    """The interfaces on which packets of each connection may arrive; empty if not known.

    A route may be asymmetric, so the interface of the answers counts as well.
    """
    flows = tuple(flows)
    own = _own_addresses()
    try:
        asked = look_up(str(flow.peer.ip) for flow in flows if _is_one(flow.peer))
    except NetworkUnreadable:
        asked = {}
    outer = frozenset(
        name
        for names in own.values()
        for name in names
        if name != "lo" and not is_kubernetes_interface(name)
    )

    def ways(flow: LiveConnection) -> frozenset[str]:
        if not _is_one(flow.peer):
            return outer
        found = asked.get(str(flow.peer.ip))
        here = own.get(flow.local, frozenset()) if flow.local else frozenset({""})
        if not here or found is None or not found.device:
            return frozenset()
        return frozenset({*here, found.device} - {""})

    return {flow: ways(flow) for flow in flows}


def _sockets() -> Iterator[_Socket]:
    """The TCP sockets that listen or are connected."""
    names: dict[int | None, str] = {None: ""}
    for each in psutil.net_connections(kind="tcp"):
        listens = each.status == psutil.CONN_LISTEN
        if not each.laddr or not (listens or each.status == psutil.CONN_ESTABLISHED):
            continue
        local = parse_socket_address(each.laddr.ip)
        peer = parse_socket_address(each.raddr.ip) if each.raddr else None
        if local is None or (peer is None and not listens):
            continue
        if each.pid not in names:
            names[each.pid] = _process(each.pid)
        yield _Socket(each.laddr.port, names[each.pid], listens, local, peer)


def _services(sockets: Iterable[_Socket]) -> Iterator[tuple[int, CriticalService]]:
    """The listening ports that other hosts can reach, each with its service."""
    sockets = tuple(sockets)
    reachable = {each.port for each in sockets if each.listens and not each.local.is_loopback()}
    for each in sockets:
        if each.port not in reachable:
            continue
        # With socket activation systemd listens, and sshd has only the sessions.
        if each.listens or is_ssh(each.process):
            service = service_of_listener(each.process, each.port)
            if service is not None:
                yield each.port, service


def _roles(processes: Set[str]) -> Iterator[Role]:
    if "k3s-server" in processes:
        yield Role.SERVER
    if "k3s-agent" in processes:
        yield Role.AGENT


def _process(pid: int | None) -> str:
    """The name of a process; for a Salt master and for K3s one that says its role."""
    try:
        process = psutil.Process(pid)
        name = str(process.name())
        # Salt sets a process title: the path of the interpreter, then its own.
        words = " ".join(process.cmdline()).split()
    except psutil.Error:  # It ended meanwhile.
        return ""
    if any(word.rpartition("/")[2] == SALT_MASTER for word in words[:3]):
        return SALT_MASTER
    if name == "k3s" and words[1:2] in (["server"], ["agent"]):
        return f"k3s-{words[1]}"
    return name


def _own_addresses() -> dict[netaddr.IPAddress, frozenset[str]]:
    """The interfaces of each address of this host."""
    found: dict[netaddr.IPAddress, frozenset[str]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        for each in addresses:
            address = parse_socket_address(each.address)
            if address is not None:
                found[address] = found.get(address, frozenset()) | {name}
    return found


def parse_socket_address(text: str) -> netaddr.IPAddress | None:
    """Read one IP address: without its interface, and as IPv4 if it is mapped; else ``None``."""
    try:
        address = netaddr.IPAddress(text.partition("%")[0], flags=netaddr.INET_PTON)
    except (netaddr.AddrFormatError, ValueError):
        return None
    return address.ipv4() if address.version == 6 and address.is_ipv4_mapped() else address


def _is_one(network: netaddr.IPNetwork) -> bool:
    return bool(network.prefixlen == (32 if network.version == 4 else 128))
