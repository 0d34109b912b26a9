"""firewalld's zones and services as they were read, as data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind
from k3sfw_engine.model.host_facts import NmConnection
from k3sfw_engine.model.host_ports import HostPorts
from k3sfw_engine.model.ipvs import NO_IPVS, IpvsFacts
from k3sfw_engine.model.nat import NatFacts

IPSET = "ipset:"


@dataclass(frozen=True)
class ServiceDefinition:
    """A service of firewalld, with all that it includes: ``port/protocol``, and protocols."""

    ports: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    source_ports: tuple[str, ...] = ()


def service_names(zone: FirewalldObject) -> frozenset[str]:
    """Return the services that the zone or policy, or a rule of it, refers to."""
    in_rules = {
        part.attributes.get("name", "")
        for rule in zone.rules
        for part in rule.parts
        if part.name == "service"
    }
    return frozenset({*zone.items("services"), *in_rules} - {""})


def ipset_names(zone: FirewalldObject) -> frozenset[str]:
    """Return the ipsets that are sources of the zone, or of a rule of the zone or policy."""
    bound = zone.items("sources") if zone.kind is Kind.ZONE else ()
    sources = {each[len(IPSET) :] for each in bound if each.startswith(IPSET)}
    in_rules = {
        part.attributes.get("ipset", "")
        for rule in zone.rules
        for part in rule.parts
        if part.name == "source"
    }
    return frozenset({*sources, *in_rules} - {""})


@dataclass(frozen=True)
class ZoneLayer:
    """One layer's zones that are in use: the default one, and those with bindings.

    targets
        The target of every zone that was read, in use or not.
    """

    zones: Mapping[str, FirewalldObject] = field(default_factory=dict)
    default: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)

    @property
    def bound(self) -> Mapping[str, str]:
        """The zone of each interface that is bound to one."""
        return {
            interface: name
            for name, zone in self.zones.items()
            for interface in zone.items("interfaces")
        }


@dataclass(frozen=True)
class OtherRules:
    """The zones and policies in one layer of firewalld that are not ours.

    zones
        The zones in use, by name.
    policies
        The policies that come before and after the zones.
    managed
        The zone that NetworkManager assigns to each of its interfaces.
    """

    zones: Mapping[str, FirewalldObject]
    default: str
    policies: tuple[FirewalldObject, ...] = ()
    services: Mapping[str, ServiceDefinition] = field(default_factory=dict)
    ipsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    managed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObservedZones:
    """The zones of both layers, and what is needed to judge them.

    services, ipsets
        Those to which zones in use refer.
    connections
        By interface, NetworkManager's connection; ``None`` if NetworkManager does not run.
    ipvs
        The services that kube-proxy serves by IPVS instead.
    lost_host_ports
        The living pods whose hostPorts no rule redirects any more.
    strict_forward_ports
        Whether firewalld filters forwarded packets even if DNAT of other programs redirected them.
    """

    runtime: ZoneLayer
    permanent: ZoneLayer
    services: Mapping[str, ServiceDefinition] = field(default_factory=dict)
    ipsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    connections: Mapping[str, NmConnection] | None = None
    redirected: NatFacts = NatFacts()
    ipvs: IpvsFacts = NO_IPVS
    lost_host_ports: HostPorts = HostPorts()
    strict_forward_ports: bool = False

    @property
    def layers(self) -> Mapping[str, ZoneLayer]:
        """Both layers by name."""
        return {"runtime": self.runtime, "permanent": self.permanent}

    @property
    def zones(self) -> frozenset[str]:
        """The zones that are in use in any layer."""
        return frozenset(name for layer in self.layers.values() for name in layer.zones)
