"""The pods with hostPorts on this host, from the results that the CNI's library keeps of each pod.

The container runtime reads the same files when it removes a pod: they hold what portmap was asked
for, and are there as long as the pod.
https://github.com/containernetworking/cni/blob/main/libcni/api.go
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.host.defaults import CNI_RESULT_BYTES
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.host_ports import HostPorts, PodPorts, PortMapping, PortmapSettings

# K3s, RKE2, containerd and CRI-O leave the library's own folder as it is.
_RESULTS = "var/lib/cni/results"
# The runtime writes the key in capitals of its own, and portmap reads any.
_HOST_PORT = re.compile(rb'"hostport"', re.IGNORECASE)
# What may be in a name, as the library itself checks it.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*\Z")
_PROTOCOLS = ("tcp", "udp", "sctp")
_UNSPECIFIED = (netaddr.IPAddress("0.0.0.0"), netaddr.IPAddress("::"))
_UNREADABLE = (
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
    netaddr.AddrFormatError,
)


def read_host_ports(root: Path = Path("/")) -> HostPorts:
    """Read which pods have hostPorts, the oldest pod first."""
    found: list[tuple[float, PodPorts]] = []
    unread: list[Problem] = []
    folder = root / _RESULTS
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return HostPorts()
    for path in (folder / name for name in names):
        try:
            pod, written = _read(path)
        except FileNotFoundError:
            continue  # The pod was removed meanwhile.
        except _UNREADABLE:
            text = f"the hostPorts of a pod cannot be read from {path}"
            unread.append(Problem(text, see=f"cat {shlex.quote(str(path))}"))
        else:
            found += [(written, pod)] if pod else []
    found.sort(key=lambda each: each[0])
    return HostPorts(tuple(pod for _written, pod in found), tuple(unread))


def _read(path: Path) -> tuple[PodPorts | None, float]:
    """The pod of a result, if it has hostPorts, and when it was written."""
    with path.open("rb") as file:
        content = file.read(CNI_RESULT_BYTES + 1)
        written = os.fstat(file.fileno()).st_mtime
    if len(content) > CNI_RESULT_BYTES:
        raise ValueError(path)
    # Most pods have no hostPort, and a node has hundreds of pods.
    pod = _pod(json.loads(content)) if _HOST_PORT.search(content) else None
    return pod, written


def _pod(cached: Mapping[str, Any]) -> PodPorts | None:
    """The pod of one result, if portmap wrote rules for it."""
    mappings = tuple(_mappings(cached["capabilityArgs"].get("portMappings") or ()))
    plugin = _portmap(json.loads(base64.b64decode(cached["config"])))
    if not mappings or plugin is None:
        return None
    result, name = cached["result"], cached["ifName"]
    interfaces = result.get("interfaces") or []
    outside = (each["name"] for each in interfaces if not each.get("sandbox"))
    sandboxes = [each["sandbox"] for each in interfaces if each.get("sandbox")]
    words = dict(cached.get("cniArgs") or ())
    container = _name(cached["containerId"])
    pod = f"{words.get('K8S_POD_NAMESPACE', '')}/{words.get('K8S_POD_NAME', '')}"
    return PodPorts(
        network=_name(cached["networkName"]),
        container=container,
        pod=pod if all(map(_NAME.match, pod.split("/"))) else container[:12],
        addresses=_addresses(result["ips"], interfaces, name),
        mappings=mappings,
        namespace=str(cached.get("netns") or sandboxes[0]),
        links=tuple(map(str, outside)),
        settings=_settings(plugin),
        backend=str(plugin.get("backend") or ""),
    )


def _mappings(asked: Iterable[Mapping[str, Any]]) -> Iterator[PortMapping]:
    for each in asked:
        fields = {key.lower(): value for key, value in each.items()}
        protocol = fields["protocol"].lower()
        if protocol not in _PROTOCOLS:
            raise ValueError(protocol)
        host_ip = netaddr.IPAddress(fields["hostip"]) if fields.get("hostip") else None
        yield PortMapping(
            protocol,
            _number(fields["hostport"], 1, 65535),
            _number(fields["containerport"], 1, 65535),
            FAMILIES if host_ip is None else (host_ip.version,),
            # 0.0.0.0 and :: stand for all addresses of a family.
            None if host_ip in _UNSPECIFIED else host_ip,
        )


def _portmap(network: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings of portmap in a network, if it has the plugin."""
    for plugin in network.get("plugins") or ():
        if plugin["type"] == "portmap" and plugin.get("capabilities", {}).get("portMappings"):
            return dict(plugin)
    return None


def _settings(plugin: Mapping[str, Any]) -> PortmapSettings:
    bit = plugin.get("markMasqBit")
    mark_chain = plugin.get("externalSetMarkChain")
    return PortmapSettings(
        snat=plugin.get("snat") is not False,
        masquerade_all=plugin.get("masqAll") is True,
        mark_bit=13 if bit is None else _number(bit, 0, 31),
        external_mark_chain=_name(mark_chain) if mark_chain else "",
        conditions={
            family: tuple(_word(each) for each in plugin.get(f"conditionsV{family}") or ())
            for family in FAMILIES
        },
    )


def _addresses(
    ips: Iterable[Mapping[str, Any]], interfaces: list[Mapping[str, Any]], name: str
) -> Mapping[int, netaddr.IPNetwork]:
    """The first address of each family that is inside the pod."""
    found: dict[int, netaddr.IPNetwork] = {}
    for each in ips:
        place = each.get("interface")
        if place is not None and 0 <= place < len(interfaces):
            interface = interfaces[place]
            if interface["name"] != name or not interface.get("sandbox"):
                continue
        address = netaddr.IPNetwork(each["address"])
        found.setdefault(address.version, address)
    return found


def _name(text: str) -> str:
    if not _NAME.match(text):
        raise ValueError(text)
    return text


def _word(text: str) -> str:
    if not text.isprintable():
        raise ValueError(text)
    return text


def _number(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(value)
    return value
