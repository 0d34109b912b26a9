"""What K3s and flannel wrote down about pods' networks, and the data folder in which K3s does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import Networks, parse_network
from k3sfw_engine.model.overlay import FlannelConfig

DATA_FOLDER = "var/lib/rancher/k3s"
# K3s writes it for flannel on every node.
# https://github.com/k3s-io/k3s/blob/master/pkg/agent/flannel/setup.go
_CONFIG = "agent/etc/flannel/net-conf.json"
# https://github.com/flannel-io/flannel/blob/master/Documentation/running.md
_SUBNET_FILE = "run/flannel/subnet.env"
# K3s unpacks its programs into a folder named by their digest, and runs them from there.
_UNPACKED = re.compile(r"(/.+)/data/[0-9a-f]{64}/bin/[^/]+\Z")
# Real files have a kilobyte.
_MOST_BYTES = 1 << 16
_DEFAULT_VNI = 1
_WIREGUARD_PORTS = {4: 51820, 6: 51821}


def data_folder(root: Path = Path("/")) -> Path:
    """The folder in which K3s has its data here: the usual one, or that of a running K3s."""
    usual = root / DATA_FOLDER
    if (usual / "agent").is_dir():
        return usual
    return next(_folders_of_processes(root), usual)


def _folders_of_processes(root: Path) -> Iterator[Path]:
    try:
        processes = sorted(entry.name for entry in os.scandir(root / "proc"))
    except OSError:
        return
    for name in processes:
        if name.isdigit():
            try:
                program = os.readlink(root / "proc" / name / "exe")
            except OSError:
                continue  # It ended, or is a thread of the kernel.
            if match := _UNPACKED.match(program):
                yield root / match[1].lstrip("/")


def read_flannel_config(data: Path) -> tuple[FlannelConfig | None, tuple[Problem, ...]]:
    """Read the file that K3s writes for flannel; ``None`` and no problem if there is none."""
    path = data / _CONFIG
    try:
        return parse_flannel_config(_text(path)), ()
    except FileNotFoundError:
        return None, ()
    except (OSError, ValueError, RecursionError) as error:
        return None, (Problem(f"{path} cannot be read ({error})", see=str(path)),)


def parse_flannel_config(text: str) -> FlannelConfig:
    """Parse ``net-conf.json``.

    Raises ``ValueError`` if it is not what flannel reads.
    """
    tree = json.loads(text)
    backend = _value(tree, "Backend", {}) if isinstance(tree, dict) else None
    if not isinstance(backend, dict):
        raise ValueError("it is not flannel's configuration")
    # Flannel's own default, and Go does not mind upper and lower case.
    kind = str(_value(backend, "Type", "udp")).lower()
    return FlannelConfig(
        networks=tuple(_networks(_value(tree, name, "") for name in ("Network", "IPv6Network"))),
        kind=kind,
        vni=_count(_value(backend, "VNI", _DEFAULT_VNI), 1 << 24) if kind == "vxlan" else None,
        ports=_ports(kind, backend),
        direct_routing=_value(backend, "DirectRouting", False) is True,
        extension=str(_value(backend, "PostStartupCommand", "")),
    )


def _ports(kind: str, backend: Mapping[str, Any]) -> dict[int, int]:
    """The ports of the backend; flannel leaves VXLAN's to the kernel if there is none."""
    if kind == "wireguard":
        names = {4: "ListenPort", 6: "ListenPortV6"}
        found = {f: _value(backend, names[f], port) for f, port in _WIREGUARD_PORTS.items()}
    else:
        found = dict.fromkeys((4, 6), _value(backend, "Port", 0))
    return {family: _count(port, 1 << 16) for family, port in found.items() if port}


def _value(tree: Mapping[str, Any], name: str, default: Any) -> Any:
    return next((v for key, v in tree.items() if key.lower() == name.lower()), default)


def _count(value: object, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < limit:
        raise ValueError(f"{value!r} is not a number below {limit}")
    return value


def read_running_networks(root: Path = Path("/")) -> Networks:
    """The pod networks that flannel wrote down when it started; none if it has not."""
    values = _running(root)
    names = ("FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK")
    try:
        return tuple(_networks(values.get(name, "") for name in names))
    except ValueError:
        return ()


def read_flannel_mtu(root: Path = Path("/")) -> int:
    """The MTU that flannel wrote down when it started; 0 if it has not."""
    value = _running(root).get("FLANNEL_MTU", "")
    return int(value) if re.fullmatch("[0-9]{1,5}", value) else 0


def _running(root: Path) -> Mapping[str, str]:
    """The variables that flannel wrote down when it started; none if it has not."""
    try:
        lines = _text(root / _SUBNET_FILE).splitlines()
    except (OSError, ValueError):
        return {}
    return dict(line.partition("=")[::2] for line in lines)


def _networks(texts: Iterator[object]) -> Iterator[netaddr.IPNetwork]:
    """The networks in these texts; that of a family without pods is written with length 0."""
    for text in texts:
        for word in filter(None, map(str.strip, str(text).split(","))):
            network = parse_network(word)
            if network.prefixlen:
                yield network


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("it is larger than any real one")
    return data.decode()
