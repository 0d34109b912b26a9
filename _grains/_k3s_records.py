"""What K3s and flannel write down on a node: networks, servers that it knows, its certificate."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union
from urllib.parse import urlsplit

from . import _k3s_files
from ._k3s_configuration import Configuration
from ._k3s_kernel import IP

IPNetwork = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# flannel writes it when it starts; the next boot removes it. The addresses in it are those of the
# bridge: the first one after the network's own.
# https://github.com/flannel-io/flannel/blob/master/pkg/subnet/subnet.go (WriteSubnetFile)
SUBNET_FILE = "/run/flannel/subnet.env"
_SUBNETS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
_NETWORKS = ("FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK")
_NET_CONF = "agent/etc/flannel/net-conf.json"
_LOAD_BALANCERS = (
    "agent/etc/k3s-agent-load-balancer.json",
    "agent/etc/k3s-api-server-agent-load-balancer.json",
)
CERTIFICATE = "agent/serving-kubelet.crt"
# What K3s takes if it is not told otherwise: by the family of the node's first address.
# https://github.com/k3s-io/k3s/blob/main/pkg/util/net.go (GetDefaultAddresses)
_DEFAULT_PODS = ("10.42.0.0/16", "fd00:42::/56")
_DEFAULT_SERVICES = ("10.43.0.0/16", "fd00:43::/112")
MOST_SERVERS = 16
# The DER of "subject alternative name", and the tag of an address in it (RFC 5280, 4.2.1.6).
_SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("0603551d11")
_TAG_OF_ADDRESS = 0x87


@dataclass(frozen=True)
class Flannel:
    """What flannel was told on this node.

    used
        Whether flannel carries this node's pods; None if that is not known.
    """

    used: bool | None = None
    networks: tuple[IPNetwork, ...] = ()


def flannel(root: Path, configuration: Configuration) -> Flannel:
    """Return what is known of flannel on this node."""
    own_file = configuration.last("flannel-conf")
    content = _json(root, own_file or f"{configuration.data}/{_NET_CONF}")
    networks = [_network(content.get(name)) for name in ("Network", "IPv6Network")]
    found = tuple(network for network in networks if network is not None)
    if configuration.last("flannel-backend") == "none":
        return Flannel(False, found)
    if content or own_file:
        return Flannel(True, found)
    # K3s writes the certificate each time that it starts, and then flannel's file if it is used.
    has_run = _k3s_files.inside(root, f"{configuration.data}/{CERTIFICATE}").exists()
    return Flannel(False if has_run else None)


def networks_of_pods_and_services(
    root: Path, configuration: Configuration, known: Flannel
) -> tuple[dict[IPNetwork, str], dict[IPNetwork, str]]:
    """Return the networks that are known to be those of pods or services, and those by default."""
    variables = _subnet_variables(root)
    pods = [*configuration.every("cluster-cidr"), *(variables.get(name, "") for name in _NETWORKS)]
    pods += [variables.get(name, "") for name in _SUBNETS] + [str(net) for net in known.networks]
    services = configuration.every("service-cidr")
    of_pods = dict.fromkeys(_networks(pods), "pods")
    of_services = dict.fromkeys(_networks(services), "services")
    defaults = {
        **(dict.fromkeys(_networks(_DEFAULT_SERVICES), "services") if not of_services else {}),
        **(dict.fromkeys(_networks(_DEFAULT_PODS), "pods") if not of_pods else {}),
    }
    return {**of_services, **of_pods}, defaults


def pod_cidrs(root: Path) -> list[str]:
    """The networks of this node's pods, as flannel wrote them down."""
    variables = _subnet_variables(root)
    return [str(network) for network in _networks(variables.get(name, "") for name in _SUBNETS)]


def servers(root: Path, configuration: Configuration) -> list[IP]:
    """The addresses of servers that this node knows, without asking a name server."""
    hosts = [urlsplit_host(configuration.last("server"))]
    for name in _LOAD_BALANCERS:
        content = _json(root, f"{configuration.data}/{name}")
        listed = content.get("ServerAddresses")
        hosts.append(urlsplit_host(content.get("ServerURL")))
        hosts += (
            [urlsplit_host(f"//{each}") for each in listed or () if isinstance(each, str)]
            if (isinstance(listed, list))
            else []
        )
    by_name = _hosts_file(root) if any(host and not _is_address(host) for host in hosts) else {}
    found: dict[IP, None] = {}
    for host in hosts:
        for text in [host] if _is_address(host) else by_name.get(host.lower(), ()):
            found[ipaddress.ip_address(text)] = None
    return list(found)[:MOST_SERVERS]


def addresses_in_certificate(root: Path, configuration: Configuration) -> set[IP]:
    """The addresses in the kubelet's certificate, which K3s makes when it starts."""
    path = _k3s_files.inside(root, f"{configuration.data}/{CERTIFICATE}")
    found = re.search(
        r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END", _k3s_files.read_text(path)
    )
    try:
        content = base64.b64decode(found[1]) if found else b""
    except ValueError:
        return set()
    return {ip for ip in _subject_addresses(content) if not ip.is_loopback}


def urlsplit_host(url: object) -> str:
    """The host in a URL; empty if there is none."""
    try:
        return urlsplit(url).hostname or "" if isinstance(url, str) else ""
    except ValueError:
        return ""


def _subject_addresses(certificate: bytes) -> Iterator[IP]:
    # The names are a sequence in an octet string; each address is a tag, a length, and 4 or 16
    # bytes. A full parser would be a dependency, for what only confirms the rest.
    start = certificate.find(_SUBJECT_ALTERNATIVE_NAME)
    if start < 0:
        return
    position = start + len(_SUBJECT_ALTERNATIVE_NAME)
    if certificate[position : position + 1] == b"\x01":  # critical
        position += 3
    _octets, position = _length(certificate, position + 1)
    length, position = _length(certificate, position + 1)
    end = min(position + length, len(certificate))
    while position + 2 <= end:
        tag = certificate[position]
        size, position = _length(certificate, position + 1)
        if tag == _TAG_OF_ADDRESS and size in (4, 16) and position + size <= end:
            yield ipaddress.ip_address(certificate[position : position + size])
        position += size


def _length(data: bytes, position: int) -> tuple[int, int]:
    """The length that is written here, and the place after it."""
    first = data[position] if position < len(data) else 0
    if first < 0x80:
        return first, position + 1
    count = first & 0x7F
    return int.from_bytes(data[position + 1 : position + 1 + count], "big"), position + 1 + count


def _subnet_variables(root: Path) -> Mapping[str, str]:
    text = _k3s_files.read_text(_k3s_files.inside(root, SUBNET_FILE))
    return dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)


def _hosts_file(root: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for line in _k3s_files.read_text(root / "etc/hosts").splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:] if words and _is_address(words[0]) else ():
            names.setdefault(name.lower(), []).append(words[0])
    return names


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _networks(texts: Iterator[str] | tuple[str, ...] | list[str]) -> Iterator[IPNetwork]:
    for each in texts:
        for text in each.split(","):
            network = _network(text.strip())
            if network is not None:
                yield network


def _network(text: object) -> IPNetwork | None:
    """A network, or None; 0.0.0.0/0 is not one."""
    if not isinstance(text, str) or "/" not in text:
        return None
    try:
        network = ipaddress.ip_interface(text).network
    except ValueError:
        return None
    return network if network.prefixlen else None


def _json(root: Path, path: str) -> dict[str, Any]:
    try:
        content = json.loads(_k3s_files.read_text(_k3s_files.inside(root, path)) or "{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
