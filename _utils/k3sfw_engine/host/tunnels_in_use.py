"""The tunnels of this host whose packets peers send: overlays of pods, and WireGuard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import netaddr

from k3sfw_engine.errors import NetworkUnreadable
from k3sfw_engine.host.iproute import look_up
from k3sfw_engine.host.tunnel_peers import read_tunnel_peers
from k3sfw_engine.host.wireguard_port import WIREGUARD_SOCKETS, read_wireguard_port
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.live_connections import LiveConnection, WaitingSocket
from k3sfw_engine.model.overlay import OverlayDevice, OverlayFacts
from k3sfw_engine.model.rows import Protocol

# The overlays of Calico and Cilium; flannel's are known by their names, too.
_OVERLAYS_OF_OTHERS = ("vxlan.calico", "vxlan-v6.calico", "cilium_vxlan", "cilium_geneve")


def read_waiting_tunnels(
    overlay: OverlayFacts, needed: Iterable[netaddr.IPAddress]
) -> tuple[WaitingSocket, ...]:
    """Read the UDP ports of tunnels, which no process listens on.

    needed
        Addresses of nodes and masters: a WireGuard device that leads to one is critical.
    """
    devices = [*_with_ports(overlay), *_of_processes(overlay)]
    meshes = {each.name for each in devices if each.kind == "wireguard" and not each.is_flannels}
    leading = _devices_towards(needed) & meshes if meshes else frozenset()
    return tuple(
        WaitingSocket(Protocol.UDP, each.port, each.name, _service(each, overlay, leading))
        for each in devices
    )


def read_overlay_peers(overlay: OverlayFacts) -> Iterator[LiveConnection]:
    """Read the peers of each overlay, to which this node sends the packets of its pods."""
    devices = {each.name: each for each in _with_ports(overlay)}
    for name, addresses in (read_tunnel_peers() if devices else {}).items():
        if name in devices:
            device = devices[name]
            service = _service(device, overlay)
            for address in addresses:
                peer = netaddr.IPNetwork(address)
                yield LiveConnection(
                    device.port, service, peer, device.local, Protocol.UDP, device.name
                )


def _with_ports(overlay: OverlayFacts) -> list[OverlayDevice]:
    return [each for each in overlay.devices or () if each.port is not None]


def _of_processes(overlay: OverlayFacts) -> Iterator[OverlayDevice]:
    """The WireGuard devices of processes, which the kernel does not tell from other tunnels."""
    known = {each.name for each in overlay.devices or ()}
    for path in sorted(WIREGUARD_SOCKETS.glob("*.sock")):
        port = None if path.stem in known else read_wireguard_port(path.stem)
        if port is not None:
            yield OverlayDevice(path.stem, "wireguard", port=port)


def _service(
    device: OverlayDevice, overlay: OverlayFacts, leading: frozenset[str] = frozenset()
) -> CriticalService | None:
    if device.is_flannels:
        return CriticalService.OVERLAY if overlay.may_carry_pods else None
    if device.name in _OVERLAYS_OF_OTHERS:
        return CriticalService.OVERLAY
    return CriticalService.WIREGUARD if device.name in leading else None


def _devices_towards(addresses: Iterable[netaddr.IPAddress]) -> frozenset[str]:
    try:
        return frozenset(found.device for found in look_up(map(str, addresses)).values())
    except NetworkUnreadable:
        return frozenset()
