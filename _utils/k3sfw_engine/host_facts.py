"""What of a host decides over its packets beside its routes: sysctls, zones, other firewalls.

It reads files, asks over D-Bus and lists nft's chains; it judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from .bus import Bus, Call
from .errors import EngineError, FirewalldRefused
from .nft import BaseChain, base_chains

_DEADLINE = 2.0

_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
_SYSCTLS_OF_AN_INTERFACE = (
    "net/ipv4/conf/{}/forwarding",
    "net/ipv4/conf/{}/rp_filter",
    "net/ipv6/conf/{}/forwarding",
)

# https://github.com/flannel-io/flannel/blob/master/Documentation/running.md
_SUBNET_FILE = "run/flannel/subnet.env"
_UFW_FILE = "etc/ufw/ufw.conf"
_WANTED_BY = "etc/systemd/system/{}.target.wants/nm-cloud-setup.{}"
_CLOUD_SETUP = (
    _WANTED_BY.format("timers", "timer"),
    _WANTED_BY.format("multi-user", "service"),
    "etc/systemd/system/NetworkManager.service.wants/nm-cloud-setup.service",
)

_NETWORK_MANAGER = "org.freedesktop.NetworkManager"
_NO_OBJECT = "/"


@dataclass(frozen=True)
class Connection:
    """What NetworkManager has on an interface that it manages; without any both are empty.

    zone
        firewalld's, which NetworkManager binds the interface to; empty for the default one.
    """

    name: str = ""
    zone: str = ""


@dataclass(frozen=True)
class HostFacts:
    """What was read.

    sysctls
        By their path below ``/proc/sys``; what the kernel does not have is not in it.
    zones
        firewalld's zone of each interface; the default zone's where it is bound to none.
    accepting
        The zones among these that accept everything.
    chains
        The base chains of all nft tables.
    managed
        The interfaces that NetworkManager manages.
    flannel_mtu
        What flannel reckoned with when it started; 0 where it does not run.
    unread
        Sentences about what could not be read, with the mend.
    """

    sysctls: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    accepting: frozenset[str] = frozenset()
    chains: tuple[BaseChain, ...] = ()
    managed: tuple[str, ...] = ()
    flannel_mtu: int = 0
    ufw: bool = False
    cloud_setup: bool = False
    unread: tuple[str, ...] = ()


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
        zones, accepting = _zones(interfaces)
    except EngineError as error:
        unread += error.sentences
        zones, accepting = {}, frozenset[str]()
    return HostFacts(
        sysctls=_sysctls(interfaces, root),
        zones=zones,
        accepting=accepting,
        chains=chains,
        managed=_managed(interfaces),
        flannel_mtu=_flannel_mtu(root),
        ufw="ENABLED=yes" in _text(root / _UFW_FILE).splitlines(),
        cloud_setup=any((root / name).is_symlink() for name in _CLOUD_SETUP),
        unread=tuple(unread),
    )


def _sysctls(interfaces: Iterable[str], root: Path) -> dict[str, str]:
    names = [*_SYSCTLS]
    names += [
        pattern.format(interface)
        for interface in interfaces
        for pattern in _SYSCTLS_OF_AN_INTERFACE
    ]
    values = {name: _text(root / "proc/sys" / name).strip() for name in names}
    return {name: value for name, value in values.items() if value}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _flannel_mtu(root: Path) -> int:
    for line in _text(root / _SUBNET_FILE).splitlines():
        name, _, value = line.partition("=")
        if name == "FLANNEL_MTU" and value.isdigit():
            return int(value)
    return 0


def _zones(interfaces: tuple[str, ...]) -> tuple[dict[str, str], frozenset[str]]:
    """The zone of each interface, and which of these zones accept everything."""
    with Bus() as bus:
        default, *bound = bus.call_all(
            [
                Call("getDefaultZone"),
                *(Call("getZoneOfInterface", "zone", "s", (name,)) for name in interfaces),
            ]
        )
        if isinstance(default, EngineError):
            raise default
        zones = {
            name: default if isinstance(zone, FirewalldRefused) or not zone else str(zone)
            for name, zone in zip(interfaces, bound)
        }
        names = sorted(set(zones.values()))
        settings = bus.call_all(Call("getZoneSettings2", "zone", "s", (name,)) for name in names)
        accepting = frozenset(
            name
            for name, each in zip(names, settings)
            if not isinstance(each, EngineError) and each.get("target", ("s", ""))[1] == "ACCEPT"
        )
        return zones, accepting


def read_connections(interfaces: Iterable[str]) -> dict[str, Connection] | None:
    """The interfaces that NetworkManager manages, with what it has on them.

    ``None`` where it does not run.
    """
    try:
        bus = open_dbus_connection("SYSTEM")
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
            pass  # It is frozen: of the others it would not tell anything either.
    return {name: connection for name, connection in found.items() if connection}


def _managed(interfaces: Iterable[str]) -> tuple[str, ...]:
    """Those of the interfaces that NetworkManager manages; none where it does not run."""
    return tuple(read_connections(interfaces) or ())


def _connection(bus: DBusConnection, interface: str) -> Connection | None:
    """What NetworkManager has on the interface, ``None`` if it does not manage it.

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
        return None  # It does not know the interface, or hung up: it manages nothing.
    try:
        active = _property(bus, _at(path, "Device"), "ActiveConnection")
        if active == _NO_OBJECT:
            return Connection()
        settings = _property(bus, _at(active, "Connection.Active"), "Connection")
        (groups,) = _asked(
            bus, new_method_call(_at(settings, "Settings.Connection"), "GetSettings")
        )
    except (DBusErrorResponse, OSError):
        return Connection()  # It was taken down meanwhile.
    own = groups["connection"]
    return Connection(str(own["id"][1]), str(own.get("zone", ("s", ""))[1]))


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
    # A question must not start a NetworkManager that somebody stopped.
    message.header.flags = MessageFlag.no_auto_start
    return unwrap_msg(bus.send_and_get_reply(message, timeout=_DEADLINE))
