"""The addresses by which peers see this node: what K3s advertises, and from where it sends."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import _k3s_doubts, _k3s_records
from ._k3s_configuration import Configuration
from ._k3s_kernel import IP, Address, Network

# Interfaces of pods and services.
KUBERNETES_INTERFACES = (
    "antrea-",
    "azv",
    "bpfin",
    "bpfout",
    "cali",
    "cilium",
    "cni",
    "datapath",
    "egress.calico",
    "eni",
    "flannel",
    "genev_sys",
    "kube-",
    "lxc",
    "nodelocaldns",
    "ovn",
    "tunl",
    "veth",
    "vxlan",
    "weave",
    "wg-v6.cali",
    "wireguard.cali",
)
# Bridges of containers and virtual machines, which have the same address on every host.
CONTAINER_INTERFACES = (
    "docker",
    "dummy",
    "ifb",
    "incusbr",
    "lxcbr",
    "lxdbr",
    "nerdctl",
    "podman",
    "virbr",
    "vnet",
)
# docker's own networks; br-lan and br-ex are bridges that carry a host's address.
_DOCKER_NETWORK = re.compile(r"br-[0-9a-f]{12}$")
# Overlays of the operator. They count where K3s or the kernel uses them, and not by themselves.
_OVERLAYS = ("tailscale", "wg", "zt", "nebula", "netbird")
TAILSCALE = "tailscale0"
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass
class Claim:
    """The addresses found so far, and what was doubtful about them."""

    addresses: set[IP] = field(default_factory=set)
    doubts: list[str] = field(default_factory=list)

    def texts(self) -> list[str]:
        ordered = sorted(self.addresses, key=lambda each: (each.version, each))
        return [str(each) for each in ordered]


@dataclass(frozen=True)
class _Host:
    """What decides whether an address that is not in the configuration is this node's own."""

    network: Network
    known: dict[_k3s_records.IPNetwork, str]
    default: dict[_k3s_records.IPNetwork, str]
    named: str  # the interface that the operator names

    def candidates(self, interface: str, version: int) -> list[IP]:
        """The addresses of this interface that may be the node's, the kernel's first one first."""
        if self.is_foreign(interface):
            return []
        return [
            each.ip
            for each in self.network.of(interface)
            if each.ip.version == version
            and _is_global_unicast(each.ip)
            and each.usable
            and not each.temporary
            and not self.is_virtual(each)
            and not self.other_network(each.ip)
        ]

    def is_foreign(self, interface: str) -> bool:
        """Whether the interface belongs to containers or virtual machines, or leads nowhere."""
        if interface == self.named:
            return False
        link = self.network.link(interface)
        is_dummy = link is not None and link.kind in ("dummy", "ifb")
        return is_dummy or is_of_containers(interface)

    def is_virtual(self, address: Address) -> bool:
        """Whether it looks like an address that keepalived or kube-vip put beside the node's own.

        A leased one, as of DHCPv6, has an end; those of a host without any other are alone.
        """
        if address.prefix != address.ip.max_prefixlen or not address.lasting:
            return False
        return any(
            each.ip.version == address.ip.version
            and each.prefix < address.prefix
            and _is_global_unicast(each.ip)
            for each in self.network.of(address.interface)
        )

    def other_network(self, ip: IP) -> str:
        """The network of pods or services that holds this address; empty if there is none."""
        return _holding(ip, self.known) or _holding(ip, self.default)


def is_of_containers(interface: str) -> bool:
    """Whether this is an interface of pods, containers or virtual machines, by its name."""
    return interface.startswith((*KUBERNETES_INTERFACES, *CONTAINER_INTERFACES)) or bool(
        _DOCKER_NETWORK.match(interface)
    )


def claim(root: Path, configurations: Iterable[Configuration], network: Network) -> Claim:
    """Return the addresses of the node with these configurations: one, if all is well."""
    found = Claim()
    for configuration in configurations:
        found.doubts += configuration.doubts
        flannel = _k3s_records.flannel(root, configuration)
        known, default = _k3s_records.networks_of_pods_and_services(root, configuration, flannel)
        host = _Host(network, known, default, configuration.last("flannel-iface"))
        over_vpn = bool(configuration.last("vpn-auth") or configuration.last("vpn-auth-file"))
        advertised = _advertised(host, configuration, over_vpn, found)
        found.addresses |= advertised
        if flannel.used is not False and not over_vpn:
            versions = {4} | {each.version for each in (*advertised, *flannel.networks)}
            found.addresses |= set(_flannel_sends_from(host, versions, found))
        servers = _k3s_records.servers(root, configuration)
        found.addresses |= set(_sends_from(host, servers, found))
        if not found.addresses:
            found.addresses |= set(_of_all_interfaces(host))
            found.doubts.append(_k3s_doubts.no_choice())
        if not over_vpn:
            _compare_with_certificate(root, configuration, found)
    return found


def _advertised(host: _Host, configuration: Configuration, over_vpn: bool, found: Claim) -> set[IP]:
    """What K3s tells its cluster: https://github.com/k3s-io/k3s/blob/main/pkg/util/net.go."""
    if over_vpn:
        of_vpn = {each.ip for each in host.network.of(TAILSCALE) if _is_global_unicast(each.ip)}
        if of_vpn:
            return of_vpn
        found.doubts.append(_k3s_doubts.no_vpn_address())
    internal = _configured(host, configuration, "node-ip", found)
    external = _configured(host, configuration, "node-external-ip", found)
    for ip in sorted(internal, key=str):
        if host.network.addresses and not host.network.holders(ip):
            found.doubts.append(_k3s_doubts.not_on_this_host("node-ip", str(ip)))
    if not internal or not configuration.complete:
        internal |= set(_own_choice(host))
    return internal | external


def _configured(host: _Host, configuration: Configuration, key: str, found: Claim) -> set[IP]:
    """The addresses that a flag lists; what K3s refuses is said, and read as it was meant."""
    addresses: list[IP] = []
    for text in ",".join(configuration.every(key)).split(",") if configuration.every(key) else ():
        ip = _parsed(text.strip())
        if ip is None or text != text.strip() or "%" in text:
            found.doubts.append(_k3s_doubts.not_an_address(key, text))
        if ip is None or not _is_global_unicast(ip):
            continue
        if network := _holding(ip, host.known):
            found.doubts.append(_k3s_doubts.in_other_network(str(ip), network))
        elif ip not in addresses:
            addresses.append(ip)
    if key == "node-ip" and len({ip.version for ip in addresses}) < len(addresses):
        found.doubts.append(_k3s_doubts.too_many_addresses(key, map(str, addresses)))
    return set(addresses)


def _own_choice(host: _Host) -> Iterator[IP]:
    """The address that K3s chooses itself, one of each family."""
    for version in (4, 6):
        if host.named:
            interfaces = [host.named]
        else:
            interfaces = [name for family, name in host.network.gateways if family == version]
            # A host that is itself a router may have its address on loopback.
            interfaces += ["lo"] if interfaces else []
        for interface in interfaces:
            candidates = host.candidates(interface, version)
            if candidates:
                yield candidates[0]
                break


def _flannel_sends_from(host: _Host, versions: set[int], found: Claim) -> Iterator[IP]:
    """The source of flannel's packets: its device's, or of the interface that it will choose.

    It does not ask node-ip: https://github.com/k3s-io/k3s/issues/12056
    """
    devices = [link for link in host.network.links if link.name.startswith("flannel")]
    senders = [ip for link in devices for ip in link.sends_from]
    for ip in senders:
        yield from _checked(host, ip, found)
    if not senders:
        yield from (ip for ip in _own_choice(host) if ip.version in versions)


def _sends_from(host: _Host, servers: Iterable[IP], found: Claim) -> Iterator[IP]:
    """The sources that the kernel picks towards these servers."""
    # Towards an address of its own, a host sends from that.
    foreign = [server for server in servers if not host.network.holders(server)]
    for source in dict.fromkeys(host.network.source(server) for server in foreign):
        if source is not None:
            yield from _checked(host, source, found)


def _checked(host: _Host, ip: IP, found: Claim) -> Iterator[IP]:
    """The address if it is this node's own to keep; else say why not."""
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if not _is_global_unicast(ip) or host.other_network(ip):
        return
    for holder in host.network.holders(ip):
        if holder.temporary:
            found.doubts.append(_k3s_doubts.temporary(str(ip), holder.interface))
        elif host.is_virtual(holder):
            found.doubts.append(_k3s_doubts.virtual(str(ip), holder.interface))
        elif not host.is_foreign(holder.interface):
            yield ip
            return


def _of_all_interfaces(host: _Host) -> Iterator[IP]:
    for link in host.network.links:
        if link.is_up and link.name != "lo" and not link.name.startswith(_OVERLAYS):
            yield from host.candidates(link.name, 4)
            yield from host.candidates(link.name, 6)


def _compare_with_certificate(root: Path, configuration: Configuration, found: Claim) -> None:
    named = _k3s_records.addresses_in_certificate(root, configuration)
    missing = sorted(str(ip) for ip in named - found.addresses)
    if missing:
        path = f"{configuration.data}/{_k3s_records.CERTIFICATE}"
        found.doubts.append(_k3s_doubts.certificate_disagrees(missing, path))


def _parsed(text: str) -> IP | None:
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def _holding(ip: IP, networks: Mapping[_k3s_records.IPNetwork, str]) -> str:
    """The network that holds this address, and what it is of; empty if none does."""
    found = [f"{net}, the network of {what}" for net, what in networks.items() if ip in net]
    return found[0] if found else ""


def _is_global_unicast(ip: IP) -> bool:
    # Go's IsGlobalUnicast, which includes private networks; Python's is_global excludes them.
    return not (
        ip.is_unspecified
        or ip.is_loopback
        or ip.is_multicast
        or ip.is_link_local
        or ip == _BROADCAST
    )
