"""What carries pods' packets to other nodes here: tunnels of the kernel, flannel's files. Pure.

Facts only. Whatever was not found or could not be read is absent, and no default stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import FAMILIES, Networks
from k3sfw_engine.model.kubernetes_names import (
    FLANNEL_TYPES,
    OVERLAY_DEVICES,
    is_flannel_device,
    is_tunnel_of_other_plugin,
)
from k3sfw_engine.model.rows import FlannelBackend


@dataclass(frozen=True)
class OverlayDevice:
    """A tunnel device, made by flannel or by another program.

    kind
        As the kernel calls it: ``vxlan``, ``wireguard``, ``geneve``, ``ipip``, ``ip6tnl``; ``tun``
        for WireGuard in user space.
    vni
        The number of the virtual network (vxlan, geneve).
    port
        The UDP port on which its packets arrive; ``None`` if it has none, or if it is not known.
    local
        The address from which it sends; ``None`` if the kernel chooses one for each packet.
    link
        The interface that it is tied to; empty if to none.
    """

    name: str
    kind: str
    vni: int | None = None
    port: int | None = None
    local: netaddr.IPAddress | None = None
    link: str = ""

    @property
    def is_flannels(self) -> bool:
        """Whether flannel made it, by its name: others have vxlan and WireGuard devices, too."""
        return is_flannel_device(self.name)


@dataclass(frozen=True)
class FlannelConfig:
    """What K3s wrote down for flannel (``net-conf.json``).

    networks
        The pod network of each family.
    kind
        The type of the backend in flannel's words: ``vxlan``, ``wireguard``, ``host-gw``,
        ``extension``, ``ipip``, ``udp``.
    vni
        The number of the virtual network, if the backend is vxlan.
    ports
        The UDP ports that the file names, by the family of the pods.
    direct_routing
        Whether pods' packets to a node on the same link go without a tunnel.
    extension
        The command that an ``extension`` runs; K3s has one for Tailscale.
    """

    networks: Networks = ()
    kind: str = ""
    vni: int | None = None
    ports: Mapping[int, int] = field(default_factory=dict)
    direct_routing: bool = False
    extension: str = ""

    @property
    def backend(self) -> FlannelBackend | None:
        """What K3s calls this backend; ``None`` for one that K3s has no word for."""
        if self.kind == "extension" and "tailscale" in self.extension:
            return FlannelBackend.TAILSCALE
        return FLANNEL_TYPES.get(self.kind)

    @property
    def devices(self) -> tuple[str, ...]:
        """The names that flannel gives the devices of this configuration.

        https://github.com/flannel-io/flannel/blob/master/pkg/backend/vxlan/vxlan.go
        """
        if self.kind != "vxlan" or self.vni is None:
            return ()
        return (f"flannel.{self.vni}", f"flannel-v6.{self.vni}")


@dataclass(frozen=True)
class PodRoute:
    """A route of the main table by a gateway."""

    destination: netaddr.IPNetwork
    gateway: netaddr.IPAddress
    device: str


@dataclass(frozen=True)
class OverlayFacts:
    """What was read on this node; the default is a node of which nothing is known.

    devices
        ``None`` if the kernel could not be asked.
    config
        ``None`` if there is no such file, or it cannot be read.
    running
        The pod networks that flannel wrote down when it started (``subnet.env``); none if it has
        not started since the boot.
    routes
        The routes by a gateway; ``None`` if the kernel could not be asked.
    """

    devices: tuple[OverlayDevice, ...] | None = None
    config: FlannelConfig | None = None
    running: Networks = ()
    routes: tuple[PodRoute, ...] | None = None
    unread: tuple[Problem, ...] = ()

    @property
    def flannels(self) -> tuple[OverlayDevice, ...]:
        """The devices that flannel made."""
        return tuple(each for each in self.devices or () if each.is_flannels)

    @property
    def flannel_names(self) -> tuple[str, ...]:
        """The names of flannel's devices: those that exist, and those that it will create."""
        configured = self.config.devices if self.config else ()
        return tuple(sorted({*configured, *(each.name for each in self.flannels)}))

    def device_of(self, family: int) -> OverlayDevice | None:
        """Flannel's vxlan device for pods of this family, if there is one.

        Of several the one that flannel is configured to use, else the one with routes: flannel
        does not remove a device when it gets another number.
        """
        found = [
            each
            for each in self.flannels
            if each.kind == "vxlan" and _family_of(each.name) == family
        ]
        configured = self.config.devices if self.config else ()
        used = {route.device for route in self.routes or ()}
        ranked = sorted(
            found, key=lambda each: (each.name not in configured, each.name not in used)
        )
        return ranked[0] if ranked else None

    def routes_beside_tunnel(self, pods: Networks) -> bool:
        """Whether a route to pods goes by a gateway and by no device of flannel's."""
        return any(
            not is_flannel_device(route.device) and any(route.destination in each for each in pods)
            for route in self.routes or ()
        )

    @property
    def carries_pods(self) -> bool:
        """Whether a route by a device of flannel's exists: its tunnel is in use."""
        return any(is_flannel_device(route.device) for route in self.routes or ())

    def ports(self, backend: FlannelBackend) -> Mapping[int, int]:
        """The ports on which the backend's tunnels receive, by the pods' family, if known."""
        configured = self.config if self.config and self.config.backend is backend else None
        found = {}
        for family in FAMILIES:
            device = self.device_of(family) if backend is FlannelBackend.VXLAN else None
            if backend is FlannelBackend.WIREGUARD:
                name = OVERLAY_DEVICES[backend][family]
                device = next((each for each in self.flannels if each.name == name), None)
            planned = configured is not None and any(n.version == family for n in self.networks)
            port = configured.ports.get(family) if configured and planned else None
            found[family] = (device.port if device else None) or port
        return {family: port for family, port in found.items() if port}

    @property
    def backend(self) -> FlannelBackend | None:
        """The backend that carries pods' packets here; ``None`` if nothing shows which.

        A tunnel with routes is in use whatever the file says: another file (``flannel-conf``) may
        have taken its place.
        """
        used = {route.device for route in self.routes or ()}
        if any(each.kind == "vxlan" and each.name in used for each in self.flannels):
            return FlannelBackend.VXLAN
        if self.running and self.config is not None:
            return self.config.backend
        others = (each.name for each in self.devices or ())
        if not self.running and any(map(is_tunnel_of_other_plugin, others)):
            return FlannelBackend.NONE
        return None

    @property
    def may_carry_pods(self) -> bool:
        """Whether a tunnel of flannel's is in use, or may be: a device stays when the backend goes.

        WireGuard has no routes by a gateway.
        """
        return (
            self.routes is None
            or self.carries_pods
            or any(each.kind != "vxlan" for each in self.flannels)
        )

    @property
    def networks(self) -> Networks:
        """The pod networks as flannel has them: where it runs, else where K3s wrote them down."""
        return self.running or (self.config.networks if self.config else ())

    def direct_routes(
        self, pods: Networks, nodes: Iterable[netaddr.IPAddress]
    ) -> tuple[PodRoute, ...]:
        """The routes to pods of other nodes that go by a node's own address, without a tunnel."""
        known = set(nodes)
        return tuple(
            route
            for route in self.routes or ()
            if route.gateway in known
            and not is_flannel_device(route.device)
            and any(route.destination in each for each in pods)
        )


def overlay_names(backend: FlannelBackend, overlay: OverlayFacts) -> Mapping[int, str]:
    """The device that carries pods' packets, by their family: as it is, as it will be, or usual."""
    names = dict(OVERLAY_DEVICES[backend])
    if backend is FlannelBackend.VXLAN:
        for name in overlay.config.devices if overlay.config else ():
            names[_family_of(name)] = name
        for family in names:
            device = overlay.device_of(family)
            names[family] = device.name if device else names[family]
    return names


def _family_of(name: str) -> int:
    return 6 if name.startswith("flannel-v6") else 4


NOTHING_KNOWN = OverlayFacts()
