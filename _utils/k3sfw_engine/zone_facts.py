"""Everything that check_zones judges, read from this host: nothing is changed, no shell is used."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .bus import CONFIG_PATH, PROPERTIES, SERVICE, Bus, Call
from .errors import EngineError, FirewalldRefused
from .firewalld import refuse_unusable, runtime_object
from .host_facts import Connection, HostFacts, read_connections
from .network import Interface, Network, read_network
from .objects import FirewalldObject, Kind
from .openings import Service, ipset_names, service_names
from .permanent import FOLDERS, read_permanent
from .redirection_facts import Redirected, read_redirections
from .redirections import Here
from .rows import Node, Tables
from .situation import Situation, is_kubernetes


@dataclass(frozen=True)
class Layer:
    """One layer's zones that are in use: the default one, and those with bindings."""

    zones: Mapping[str, FirewalldObject] = field(default_factory=dict)
    default: str = ""

    @property
    def bound(self) -> Mapping[str, str]:
        """The zone of each interface that is bound to one."""
        return {
            interface: name
            for name, zone in self.zones.items()
            for interface in zone.items("interfaces")
        }


@dataclass(frozen=True)
class ZoneFacts:
    """What was read.

    services, ipsets
        Those that zones in use name.
    connections
        What NetworkManager manages, ``None`` where it does not run.
    strict_forward_ports
        Whether firewalld asks its rules of forwarding about what somebody redirected.
    """

    runtime: Layer
    permanent: Layer
    services: Mapping[str, Service] = field(default_factory=dict)
    ipsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    connections: Mapping[str, Connection] | None = None
    redirected: Redirected = Redirected()
    strict_forward_ports: bool = False

    @property
    def layers(self) -> Mapping[str, Layer]:
        """Both layers by name."""
        return {"runtime": self.runtime, "permanent": self.permanent}

    @property
    def zones(self) -> frozenset[str]:
        """The zones that are in use in any layer."""
        return frozenset(name for layer in self.layers.values() for name in layer.zones)


def observe_zones(tables: Tables, name: str) -> tuple[Situation, ZoneFacts]:
    """What is there on the node of this name.

    Raises ``NetworkUnreadable`` or ``FirewalldUnavailable`` if there is nothing to be judged.
    """
    (node,) = (each for each in tables.nodes if each.name == name)
    network = read_network(())
    at = Situation(node, (), tables, network, HostFacts())
    with Bus() as bus:
        runtime, default, strict = read_runtime_zones(bus)
        permanent = read_permanent_zones(default)
        zones = [*runtime.zones.values(), *permanent.zones.values()]
        services = read_services(bus, {n for zone in zones for n in service_names(zone)})
        ipsets = read_ipsets(bus, {n for zone in zones for n in ipset_names(zone)})
    return at, ZoneFacts(
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


def _here(node: Node, tables: Tables, network: Network) -> Here:
    """The addresses at which other hosts reach this node."""
    own = {
        address.ip
        for name, link in network.interfaces.items()
        if name != "lo" and not is_kubernetes(name)
        for address in link.addresses
    }
    return Here(frozenset({*own, *node.addresses}), (*tables.pod_cidrs, *tables.service_cidrs))


# -- firewalld ------------------------------------------------------------------------------------


def read_runtime_zones(bus: Bus) -> tuple[Layer, str, bool]:
    """The runtime layer, the permanent default zone, and StrictForwardPorts."""
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
    return Layer(found, default), _text(later) or default, _text(strict) == "yes"


def _text(variant: Any) -> str:
    return "" if isinstance(variant, FirewalldRefused) else str(variant[1])


def those_known(bus: Bus, names: Iterable[str], calls: Iterable[Call]) -> dict[str, Any]:
    return {
        name: answer
        for name, answer in zip(names, bus.call_all(calls))
        if not isinstance(answer, FirewalldRefused)
    }


def read_permanent_zones(default: str) -> Layer:
    permanent = read_permanent()
    zones = {
        name: zone
        for objects in (permanent.others, permanent.objects)
        for (kind, name), zone in objects.items()
        if kind is Kind.ZONE
        and (name == default or zone.items("interfaces") or zone.items("sources"))
    }
    return Layer(dict(sorted(zones.items())), default)


def read_services(bus: Bus | None, names: Iterable[str]) -> dict[str, Service]:
    """The services of these names with all that they include; new ones from their files.

    Without a bus all of them are read from files.
    """
    read: dict[str, Mapping[str, Any]] = {}
    ahead = sorted(set(names))
    while ahead:
        calls = [Call("getServiceSettings2", signature="s", arguments=(name,)) for name in ahead]
        answers = those_known(bus, ahead, calls) if bus else {}
        for name in ahead:
            read[name] = _plain(answers[name]) if name in answers else _service_file(name)
        ahead = sorted(
            {each for name in ahead for each in read[name].get("includes", ())} - set(read)
        )
    return {name: _complete(name, read) for name in read}


def _plain(variants: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, (_signature, value) in variants.items()}
    for name in ("ports", "source_ports"):
        plain[name] = ["/".join(each) for each in plain.get(name, ())]
    return plain


def _service_file(name: str) -> Mapping[str, Any]:
    """What a service's file says, for one that firewalld has not loaded; empty without a file."""
    for folder in FOLDERS:
        try:
            root = ElementTree.fromstring((folder / f"services/{name}.xml").read_bytes())
        except (ElementTree.ParseError, OSError):
            continue
        ports = {
            setting: [f"{e.get('port', '')}/{e.get('protocol', '')}" for e in root.iter(tag)]
            for tag, setting in (("port", "ports"), ("source-port", "source_ports"))
        }
        return {
            **ports,
            "protocols": [each.get("value", "") for each in root.iter("protocol")],
            "includes": [each.get("service", "") for each in root.iter("include")],
        }
    return {}


def _complete(name: str, read: Mapping[str, Mapping[str, Any]]) -> Service:
    every, ahead = {name}, [name]
    while ahead:
        more = set(read.get(ahead.pop(), {}).get("includes", ())) - every
        every |= more
        ahead += more

    def all_of(setting: str) -> tuple[str, ...]:
        return tuple(sorted({text for n in every for text in read.get(n, {}).get(setting, ())}))

    return Service(all_of("ports"), all_of("protocols"), all_of("source_ports"))


def read_ipsets(bus: Bus, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    # Of an ipset with time-outs firewalld does not know the entries, and refuses to tell them.
    names = sorted(set(names))
    found = those_known(bus, names, (Call("getEntries", "ipset", "s", (n,)) for n in names))
    return {name: tuple(entries) for name, entries in found.items()}
