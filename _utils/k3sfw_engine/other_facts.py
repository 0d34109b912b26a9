"""The zones and policies of others, read in both layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .bus import Bus, Call
from .errors import FirewalldRefused
from .firewalld import runtime_object
from .host_facts import read_connections
from .objects import FirewalldObject, Kind, is_ours, make_object
from .openings import Service, ipset_names, service_names
from .others import Others
from .permanent import FOLDERS, read_permanent
from .zone_facts import Layer, read_ipsets, read_runtime_zones, read_services, those_known

_CONFIGURATION = FOLDERS[0] / "firewalld.conf"

# What a firewalld that is not installed yet will come with.
_STOCK_DEFAULT = "public"
_STOCK_ZONE = make_object(Kind.ZONE, _STOCK_DEFAULT, {"services": ("ssh",)})
_STOCK_SERVICES = {"ssh": Service(ports=("22/tcp",))}


def read_others(bus: Bus, interfaces: Iterable[str]) -> tuple[Others, Others]:
    """What others have at runtime and permanently; of the permanent one, the files.

    interfaces
        Those of which it counts in what zone NetworkManager has them.

    Raises ``FirewalldUnavailable`` if firewalld's answers do not count.
    """
    zones, default, _strict = read_runtime_zones(bus)
    policies = _runtime_policies(bus)
    runtime = _others(bus, zones, policies)
    return runtime, _read_permanent(bus, default, interfaces)


def read_others_of_a_first_start(interfaces: Iterable[str]) -> Others:
    """What others have in the files of a firewalld that does not run, or that will be installed."""
    return _read_permanent(None, _permanent_default(), interfaces)


def _read_permanent(bus: Bus | None, default: str, interfaces: Iterable[str]) -> Others:
    permanent = read_permanent()
    objects = [*permanent.others.values(), *permanent.objects.values()]
    zones = {each.name: each for each in objects if each.kind is Kind.ZONE}
    if default not in zones and default == _STOCK_DEFAULT and not FOLDERS[1].exists():
        zones[default] = _STOCK_ZONE
    policies = [each for each in objects if each.kind is Kind.POLICY and not is_ours(each)]
    connections = read_connections(interfaces) or {}
    managed = {name: each.zone for name, each in connections.items() if each.zone}
    return _others(bus, Layer(zones, default), policies, managed)


def _others(
    bus: Bus | None,
    layer: Layer,
    policies: Iterable[FirewalldObject],
    managed: Mapping[str, str] | None = None,
) -> Others:
    policies = tuple(policies)
    every = [*layer.zones.values(), *policies]
    services = read_services(bus, {name for each in every for name in service_names(each)})
    names = {name for zone in layer.zones.values() for name in ipset_names(zone)}
    return Others(
        zones=layer.zones,
        default=layer.default,
        policies=policies,
        services={
            name: found if found != Service() else _STOCK_SERVICES.get(name, found)
            for name, found in services.items()
        },
        ipsets=read_ipsets(bus, names) if bus else {},
        managed=managed or {},
    )


def _runtime_policies(bus: Bus) -> tuple[FirewalldObject, ...]:
    names: Any = bus.call_all([Call("getPolicies", "policy")])[0]
    if isinstance(names, FirewalldRefused):
        raise names
    calls = [Call("getPolicySettings", "policy", "s", (name,)) for name in names]
    found = those_known(bus, names, calls)
    policies = [runtime_object(Kind.POLICY, name, answer) for name, answer in found.items()]
    return tuple(each for each in policies if not is_ours(each))


def _permanent_default() -> str:
    """The default zone that firewalld's file names; without one, its own."""
    try:
        lines = _CONFIGURATION.read_text(errors="replace").splitlines()
    except OSError:
        return _STOCK_DEFAULT
    values = [line.split("=", 1)[1].strip() for line in lines if line.startswith("DefaultZone=")]
    return values[-1] if values and values[-1] else _STOCK_DEFAULT
