"""Read the zones, the policies of others and the ipsets that they name, in both layers.

For a firewalld that does not run or is not installed yet, from its files or its stock settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from k3sfw_engine.errors import EngineError, FirewalldRefused
from k3sfw_engine.firewalld.dbus import CONFIG_PATH, PROPERTIES, SERVICE, Bus, Call, those_known
from k3sfw_engine.firewalld.permanent import FOLDERS, STOCK_DEFAULT_ZONE, read_permanent
from k3sfw_engine.firewalld.runtime import refuse_unusable, runtime_object
from k3sfw_engine.firewalld.service_definitions import read_services
from k3sfw_engine.host.network_manager import read_connections
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind, is_ours, make_object
from k3sfw_engine.model.zones import (
    OtherRules,
    ServiceDefinition,
    ZoneLayer,
    ipset_names,
    service_names,
)

# The stock configuration of a firewalld that is not installed yet.
_STOCK_ZONE = make_object(Kind.ZONE, STOCK_DEFAULT_ZONE, {"services": ("ssh",)})
_STOCK_SERVICES = {"ssh": ServiceDefinition(ports=("22/tcp",))}


def read_others(bus: Bus, interfaces: Iterable[str]) -> tuple[OtherRules, OtherRules]:
    """Read the zones and policies of others at runtime, and permanently from their files.

    interfaces
        The interfaces for which NetworkManager's zone matters.

    Raises ``FirewalldUnavailable`` if firewalld is not in a usable state.
    """
    zones, default, _strict = read_runtime_zones(bus)
    policies = _runtime_policies(bus)
    runtime = _others(bus, zones, policies)
    return runtime, _read_permanent(bus, default, interfaces)


def read_others_of_a_first_start(interfaces: Iterable[str]) -> OtherRules:
    """Read the files of a firewalld that does not run yet, or that will be installed."""
    return _read_permanent(None, "", interfaces)


def _read_permanent(bus: Bus | None, default: str, interfaces: Iterable[str]) -> OtherRules:
    permanent = read_permanent()
    default = default or permanent.default
    objects = [*permanent.others.values(), *permanent.objects.values()]
    zones = {each.name: each for each in objects if each.kind is Kind.ZONE}
    if default not in zones and default == STOCK_DEFAULT_ZONE and not FOLDERS[1].exists():
        zones[default] = _STOCK_ZONE
    policies = [each for each in objects if each.kind is Kind.POLICY and not is_ours(each)]
    connections = read_connections(interfaces) or {}
    managed = {name: each.zone for name, each in connections.items() if each.zone}
    return _others(bus, ZoneLayer(zones, default), policies, managed)


def _others(
    bus: Bus | None,
    layer: ZoneLayer,
    policies: Iterable[FirewalldObject],
    managed: Mapping[str, str] | None = None,
) -> OtherRules:
    policies = tuple(policies)
    every = [*layer.zones.values(), *policies]
    services = read_services(bus, {name for each in every for name in service_names(each)})
    names = {name for each in every for name in ipset_names(each)}
    return OtherRules(
        zones=layer.zones,
        default=layer.default,
        policies=policies,
        services={
            name: found if found != ServiceDefinition() else _STOCK_SERVICES.get(name, found)
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


# -- firewalld ------------------------------------------------------------------------------------


def read_runtime_zones(bus: Bus) -> tuple[ZoneLayer, str, bool]:
    """Return the runtime layer, the permanent default zone, and StrictForwardPorts."""
    config = f"{SERVICE}.config"
    state, panic, default, active, later, strict = bus.call_all(
        [
            Call("Get", PROPERTIES, "ss", (SERVICE, "state")),
            Call("queryPanicMode"),
            Call("getDefaultZone"),
            Call("getActiveZones", "zone"),
            Call("Get", PROPERTIES, "ss", (config, "DefaultZone"), path=CONFIG_PATH),
            # firewalld has it since 2.3.
            Call("Get", PROPERTIES, "ss", (config, "StrictForwardPorts"), path=CONFIG_PATH),
        ]
    )
    refuse_unusable(state, panic)
    for answer in (default, active):
        if isinstance(answer, EngineError):
            raise answer
    names = sorted({default, *active})
    zones = those_known(bus, names, (Call("getZoneSettings2", "zone", "s", (n,)) for n in names))
    found = {name: runtime_object(Kind.ZONE, name, answer) for name, answer in zones.items()}
    layer = ZoneLayer(found, default, _targets(found))
    return layer, _text(later) or default, _text(strict) == "yes"


def _targets(zones: Mapping[str, FirewalldObject]) -> dict[str, str]:
    return {name: str(zone.settings["target"]) for name, zone in sorted(zones.items())}


def _text(variant: Any) -> str:
    return "" if isinstance(variant, FirewalldRefused) else str(variant[1])


def read_permanent_zones(default: str) -> ZoneLayer:
    """Read the zones that are in use permanently: the default zone, and those with bindings."""
    permanent = read_permanent()
    every = {
        name: zone
        for objects in (permanent.others, permanent.objects)
        for (kind, name), zone in sorted(objects.items())
        if kind is Kind.ZONE
    }
    in_use = {
        name: zone
        for name, zone in sorted(every.items())
        if name == default or zone.items("interfaces") or zone.items("sources")
    }
    return ZoneLayer(in_use, default, _targets(every))


def read_ipsets(bus: Bus, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read the entries of ipsets by name."""
    # firewalld refuses to return the entries of an ipset with timeouts: it does not know them.
    names = sorted(set(names))
    found = those_known(bus, names, (Call("getEntries", "ipset", "s", (n,)) for n in names))
    return {name: tuple(entries) for name, entries in found.items()}
