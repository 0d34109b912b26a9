"""Connections of peers to this host, and the sockets that wait for peers, which an apply may close.

Procfs and netlink serve; no process is started.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import netaddr
import psutil

from k3sfw_engine.errors import NetworkUnreadable
from k3sfw_engine.host.ip_protocols_in_use import read_ipsec_peers, read_raw_sockets
from k3sfw_engine.host.iproute import look_up
from k3sfw_engine.host.tracked_packets import TrackedPackets, read_tracked_packets
from k3sfw_engine.model.critical_processes import (
    CRITICAL_PROTOCOLS,
    K3S_AGENT,
    K3S_SERVER,
    SALT_MASTER,
    SALT_MINION,
    CriticalService,
    is_ssh,
    service_of_listener,
)
from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection, WaitingSocket
from k3sfw_engine.model.rows import Protocol, Role

# Clients of DHCP: they wait for answers, not for requests of peers.
_CLIENT_PORTS = frozenset((68, 546))
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TITLES = (SALT_MASTER, SALT_MINION)


@dataclass(frozen=True)
class _Socket:
    """A socket that listens or is connected; UDP has no difference between the two."""

    protocol: Protocol
    port: int
    process: str
    listens: bool
    local: netaddr.IPAddress
    peer: netaddr.IPAddress | None


def read_live_connections() -> HostActivity:
    """Read the TCP connections of peers, and what waits for peers on this host.

    Connections of the host with itself do not count.
    """
    sockets = tuple(_sockets())
    own = _own_addresses()
    waiting = tuple(_waiting(sockets, own))
    services = dict(_critical_services(sockets))
    names = {each.port: each.process for each in waiting if each.protocol is Protocol.TCP}
    flows = {
        LiveConnection(
            each.port,
            services.get(each.port),
            netaddr.IPNetwork(each.peer),
            each.local,
            process=each.process or names.get(each.port, ""),
        )
        for each in sockets
        if each.peer is not None
        and (each.port in names or each.port in services)
        and _is_another_host(each.peer, own)
    }
    return HostActivity(
        connections=tuple(sorted(flows, key=lambda each: each.order)),
        ssh_ports=frozenset(port for port, what in services.items() if what is CriticalService.SSH),
        k3s_roles=frozenset(_roles({each.process for each in sockets})),
        waiting=tuple(sorted(waiting, key=lambda each: each.order)),
        salt_masters=frozenset(
            each.peer
            for each in sockets
            if each.process == SALT_MINION and each.peer is not None and not each.listens
        ),
    )


def read_live_packets(waiting: Iterable[WaitingSocket]) -> tuple[LiveConnection, ...]:
    """Read the peers of what has no connections: UDP ports, tunnels and IP protocols.

    waiting
        The sockets and the tunnels that take packets here.
    """
    own = _own_addresses()
    takers = {(each.protocol, each.port): each for each in waiting}
    ipsec = (TrackedPackets(*each, None) for each in read_ipsec_peers())
    found = set()
    for packets in (*read_tracked_packets(), *ipsec):
        taker = takers.get((packets.protocol, packets.port))
        if (
            (packets.destination in own or packets.destination.is_multicast())
            and _is_another_host(packets.source, own)
            and (taker or packets.protocol.is_whole)
        ):
            found.add(
                LiveConnection(
                    packets.port,
                    taker.service if taker else None,
                    netaddr.IPNetwork(packets.source),
                    # The route to the peer says where packets to a multicast address arrive.
                    packets.destination if packets.destination in own else None,
                    packets.protocol,
                    taker.process if taker else "",
                )
            )
    return tuple(sorted(found, key=lambda each: each.order))


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
    outer = read_outer_interfaces()

    def ways(flow: LiveConnection) -> frozenset[str]:
        if not _is_one(flow.peer):
            return outer
        found = asked.get(str(flow.peer.ip))
        here = own.get(flow.local, frozenset()) if flow.local else frozenset({""})
        if not here or found is None or not found.device:
            return frozenset()
        if is_kubernetes_interface(found.device):
            # A pod: nothing else answers behind its bridge or tunnel.
            return frozenset({found.device})
        return frozenset({*here, found.device} - {""})

    return {flow: ways(flow) for flow in flows}


def read_outer_interfaces() -> frozenset[str]:
    """Read the interfaces with addresses on which hosts outside may reach this one."""
    return frozenset(
        name
        for names in _own_addresses().values()
        for name in names
        if name != "lo" and not is_kubernetes_interface(name)
    )


def _sockets() -> Iterator[_Socket]:
    """The TCP sockets that listen or are connected, and the UDP sockets that wait for anyone."""
    names: dict[int | None, str] = {None: ""}
    for each in psutil.net_connections(kind="inet"):
        protocol = Protocol.TCP if each.type == socket.SOCK_STREAM else Protocol.UDP
        listens = each.status == psutil.CONN_LISTEN or (protocol is Protocol.UDP and not each.raddr)
        if not each.laddr or not (listens or each.status == psutil.CONN_ESTABLISHED):
            continue
        local = parse_socket_address(each.laddr.ip)
        peer = parse_socket_address(each.raddr.ip) if each.raddr else None
        if local is None or (peer is None and not listens):
            continue
        if each.pid not in names:
            names[each.pid] = _process(each.pid)
        yield _Socket(protocol, each.laddr.port, names[each.pid], listens, local, peer)


def _waiting(
    sockets: Iterable[_Socket], own: Mapping[netaddr.IPAddress, frozenset[str]]
) -> Iterator[WaitingSocket]:
    """The sockets that wait for other hosts, and not only for pods or for this host itself."""
    ephemeral = _ephemeral_ports()
    found = {}
    for each in sockets:
        is_udp = each.protocol is Protocol.UDP
        if (
            each.listens
            and not each.local.is_loopback()
            and not any(map(is_kubernetes_interface, own.get(each.local, ())))
            and not (is_udp and each.port in _CLIENT_PORTS)
        ):
            found[each.protocol, each.port] = WaitingSocket(
                each.protocol,
                each.port,
                each.process,
                by_chance=is_udp and each.port in ephemeral,
            )
    yield from found.values()
    for protocol in read_raw_sockets():
        service = CRITICAL_PROTOCOLS.get(protocol)
        yield WaitingSocket(protocol, None, f"a raw socket of {protocol.value}", service)


def _ephemeral_ports() -> range:
    """The ports that the kernel gives to clients."""
    try:
        low, high = map(int, _EPHEMERAL.read_text().split())
    except (OSError, ValueError):
        return range(0)
    return range(low, high + 1)


def _is_another_host(peer: netaddr.IPAddress, own: Mapping[netaddr.IPAddress, object]) -> bool:
    return peer not in own and not peer.is_loopback() and not peer.is_link_local()


def _critical_services(sockets: Iterable[_Socket]) -> Iterator[tuple[int, CriticalService]]:
    """The TCP ports of critical services that other hosts can reach."""
    sockets = tuple(each for each in sockets if each.protocol is Protocol.TCP)
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
    if K3S_SERVER in processes:
        yield Role.SERVER
    if K3S_AGENT in processes:
        yield Role.AGENT


def _process(pid: int | None) -> str:
    """The name of a process; for Salt's daemons and for K3s one that says which it is."""
    try:
        process = psutil.Process(pid)
        name = str(process.name())
        # Salt sets a process title: the path of the interpreter, then its own.
        words = " ".join(process.cmdline()).split()
    except psutil.Error:  # It ended meanwhile.
        return ""
    for title in _TITLES:
        if any(word.rpartition("/")[2] == title for word in words[:3]):
            return title
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
