"""The interfaces that NetworkManager manages, read over D-Bus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jeepney import (
    DBusAddress,
    DBusErrorResponse,
    MessageFlag,
    Properties,
    message_bus,
    new_method_call,
)
from jeepney.auth import AuthenticationError
from jeepney.io.blocking import DBusConnection
from jeepney.wrappers import unwrap_msg

from k3sfw_engine.host.defaults import NETWORK_MANAGER_SECONDS
from k3sfw_engine.host.system_bus import open_system_bus
from k3sfw_engine.model.host_facts import NmConnection

_NETWORK_MANAGER = "org.freedesktop.NetworkManager"
_NO_OBJECT = "/"


def read_connections(interfaces: Iterable[str]) -> dict[str, NmConnection] | None:
    """Read the interfaces that NetworkManager manages, each with its active connection.

    Returns ``None`` if NetworkManager is not running.
    """
    try:
        bus = open_system_bus()
    except (OSError, AuthenticationError):
        return None
    with bus:
        try:
            if not _asked(bus, message_bus.NameHasOwner(_NETWORK_MANAGER))[0]:
                return None
        except (DBusErrorResponse, OSError):
            return None
        found = {}
        try:
            for name in interfaces:
                found[name] = _connection(bus, name)
        except TimeoutError:
            pass  # It is frozen, and would not answer about the others either.
    return {name: connection for name, connection in found.items() if connection}


def managed_interfaces(interfaces: Iterable[str]) -> tuple[str, ...]:
    """The interfaces that NetworkManager manages; none if it is not running."""
    return tuple(read_connections(interfaces) or ())


def _connection(bus: DBusConnection, interface: str) -> NmConnection | None:
    """The active connection of an interface, or ``None`` if NetworkManager does not manage it.

    Raises ``TimeoutError`` if it does not answer.
    """
    find = new_method_call(_at("", ""), "GetDeviceByIpIface", "s", (interface,))
    try:
        (path,) = _asked(bus, find)
        if not _property(bus, _at(path, "Device"), "Managed"):
            return None
    except TimeoutError:
        raise
    except (DBusErrorResponse, OSError):
        return None  # It does not know the interface, or hung up.
    try:
        active = _property(bus, _at(path, "Device"), "ActiveConnection")
        if active == _NO_OBJECT:
            return NmConnection()
        settings = _property(bus, _at(active, "Connection.Active"), "Connection")
        (groups,) = _asked(
            bus, new_method_call(_at(settings, "Settings.Connection"), "GetSettings")
        )
    except (DBusErrorResponse, OSError):
        return NmConnection()  # It was taken down meanwhile.
    own = groups["connection"]
    return NmConnection(str(own["id"][1]), str(own.get("zone", ("s", ""))[1]))


def _at(path: str, interface: str) -> DBusAddress:
    return DBusAddress(
        path or "/org/freedesktop/NetworkManager",
        _NETWORK_MANAGER,
        f"{_NETWORK_MANAGER}.{interface}" if interface else _NETWORK_MANAGER,
    )


def _property(bus: DBusConnection, address: DBusAddress, name: str) -> Any:
    ((_signature, value),) = _asked(bus, Properties(address).get(name))
    return value


def _asked(bus: DBusConnection, message: Any) -> Any:
    # A question must not start a NetworkManager that was stopped on purpose.
    message.header.flags = MessageFlag.no_auto_start
    return unwrap_msg(bus.send_and_get_reply(message, timeout=NETWORK_MANAGER_SECONDS))
