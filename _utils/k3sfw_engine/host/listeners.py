"""Processes that listen on this host, and the ports of ssh servers, read from procfs."""

from __future__ import annotations

import socket

import psutil

from k3sfw_engine.model.critical_processes import is_ssh
from k3sfw_engine.model.listeners import KERNEL, Listener
from k3sfw_engine.model.rows import Protocol

_SOCKET_TYPES = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}


def read_listeners() -> tuple[Listener, ...]:
    """Read the TCP and UDP listeners that other hosts could reach."""
    names: dict[int | None, str] = {None: KERNEL}
    found = set()
    for connection in psutil.net_connections(kind="inet"):
        waiting = connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
        if connection.raddr or not connection.laddr or not waiting:
            continue
        if connection.laddr.ip.startswith("127.") or connection.laddr.ip == "::1":
            continue  # Other hosts cannot reach it.
        if connection.pid not in names:
            names[connection.pid] = _process_name(connection.pid)
        for protocol, socket_type in _SOCKET_TYPES.items():
            if connection.type == socket_type:
                found.add(Listener(protocol, connection.laddr.port, names[connection.pid]))
    return tuple(sorted(found))


def ssh_ports() -> frozenset[int]:
    """The TCP ports on which ssh servers listen or have a connection now.

    Connections count because with socket activation systemd listens and sshd has only these.
    """
    return frozenset(
        connection.laddr.port
        for connection in psutil.net_connections(kind="tcp")
        if connection.laddr and connection.pid and is_ssh(_process_name(connection.pid))
    )


def _process_name(pid: int | None) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:  # It ended while we looked.
        return f"process {pid}"
