"""
The grains of a K3s node: its role, the name of its cluster, the addresses that its peers see, and
the networks of its pods.

Reads files only, and imports nothing of the engine: grains are loaded before modules are synced, so
one process could hold new grains beside old engine code.
"""

# Import modules, never functions: Salt calls every public function of a grains module, imported
# ones included.
from __future__ import annotations

import fnmatch
import ipaddress
import logging
import os
from pathlib import Path

import yaml

log = logging.getLogger(__name__)

NAMES = ("k3s_role", "k3s_cluster", "k3s_node_ips", "k3s_pod_cidrs")
SERVICES = {"server": "k3s", "agent": "k3s-agent"}
# In systemd's order: the first folder that holds a unit's name decides what the unit is.
UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
CONFIGURATION = "etc/rancher/k3s/config.yaml"
DATA_FOLDER = "/var/lib/rancher/k3s"
# flannel writes it when it starts; the next boot removes it. The addresses in it are those of the
# bridge: the first one after the network's own.
# https://github.com/flannel-io/flannel/blob/master/pkg/subnet/subnet.go (WriteSubnetFile)
SUBNET_FILE = "run/flannel/subnet.env"
SUBNETS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
KUBERNETES_INTERFACES = (
    "azv*",
    "cali*",
    "cilium*",
    "cni*",
    "docker*",
    "eni*",
    "flannel*",
    "kube-*",
    "lo",
    "lxc*",
    "tailscale*",
    "veth*",
)


def k3s(grains):
    """
    Return ``k3s_role``, ``k3s_cluster`` and ``k3s_node_ips``, and ``k3s_pod_cidrs`` once flannel
    has written its subnet file. On a host that is not a K3s node, return nothing.

    Each value that the operator set in the minion's configuration or in the grains file wins; an
    empty ``k3s_role`` means that this host is not a K3s node.
    """
    return _node(Path("/"), _set_by_operator(__opts__), grains)


def _node(root: Path, operator: dict, grains: dict) -> dict:
    configuration = _configuration(root)
    role = operator["k3s_role"] if "k3s_role" in operator else _role(root, configuration)
    if not role:
        return {}
    node = {"k3s_role": role, "k3s_cluster": "default", **operator}
    if "k3s_node_ips" not in node:
        addresses = _configured_addresses(configuration) or _interface_addresses(grains)
        ordered = sorted(addresses, key=lambda address: (address.version, address))
        node["k3s_node_ips"] = [str(address) for address in ordered]
    pod_cidrs = _pod_cidrs(root)
    if pod_cidrs:
        node.setdefault("k3s_pod_cidrs", pod_cidrs)
    return node


def _set_by_operator(opts: dict) -> dict:
    # Salt ranks a custom grain above the grains file, and the minion's configuration above both,
    # but only after this function has run. Until then opts["grains"] holds only the configuration's
    # grains: salt.loader.grains reads them again for each refresh.
    values = {}
    for source in (_grains_file(opts), opts.get("grains")):
        if isinstance(source, dict):
            # grains.delval leaves None behind.
            values.update({name: source[name] for name in NAMES if source.get(name) is not None})
    return values


def _grains_file(opts: dict) -> object:
    # At the place where salt.grains.extra looks, which also warns if the file cannot be read.
    if "conf_file" not in opts:
        return None
    path = Path(opts["conf_file"])
    folder = path if path.is_dir() else path.parent
    try:
        return yaml.safe_load((folder / "grains").read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _role(root: Path, configuration: dict) -> str | None:
    roles = [role for role, service in SERVICES.items() if _has_service(root, service)]
    if len(roles) == 1:
        return roles[0]
    data = root / str(configuration.get("data-dir") or DATA_FOLDER).lstrip("/")
    return next((role for role in ("server", "agent") if (data / role).is_dir()), None)


def _has_service(root: Path, name: str) -> bool:
    if (root / "etc/init.d" / name).is_file():
        return True
    units = (root / folder / f"{name}.service" for folder in UNIT_FOLDERS)
    first = next((unit for unit in units if os.path.lexists(unit)), None)
    # A masked unit is a link to /dev/null, which is not a regular file.
    return first is not None and first.is_file()


def _configuration(root: Path) -> dict:
    # As K3s reads it (its pkg/configfilearg): config.yaml, then config.yaml.d sorted by name. The
    # last value wins, and that of "key+" is appended. K3s does not start if it cannot read one of
    # the files, so after one unreadable file the others say nothing about this node either.
    values: dict = {}
    for path in _configuration_files(root / CONFIGURATION):
        try:
            # Every scalar stays text, as in K3s: YAML 1.1 would read 2001:10:0:1 as a number.
            content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader) or {}
            items = content.items()
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
            log.warning(
                "%s cannot be read as a K3s configuration (%s). k3s_node_ips are the addresses of "
                "this host's interfaces instead. Fix: correct the file, then run salt-call "
                "saltutil.refresh_grains",
                path,
                " ".join(str(error).split()),
            )
            return {}
        for key, value in items:
            name = str(key)[:-1] if str(key).endswith("+") else str(key)
            if name != key and name in values:
                values[name] = _texts(values[name]) + _texts(value)
            else:
                values[name] = value
    return values


def _configuration_files(base: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(f"{base}.d"))
    except OSError:
        names = []
    more = [Path(f"{base}.d", name) for name in names if name.lower().endswith((".yaml", ".yml"))]
    return [base, *(path for path in more if not path.is_dir())]


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _configured_addresses(configuration: dict) -> set:
    listed = ",".join(_texts(configuration.get("node-ip", ""))).split(",")
    try:
        addresses = {_address(text.strip()) for text in listed if text.strip()}
    except ValueError as error:
        log.warning(
            "node-ip in /%s or its config.yaml.d is not a list of addresses (%s). k3s_node_ips are "
            "the addresses of this host's interfaces instead. Fix: correct node-ip, then run "
            "salt-call saltutil.refresh_grains",
            CONFIGURATION,
            error,
        )
        return set()
    return {address for address in addresses if _is_global_unicast(address)}


def _interface_addresses(grains: dict) -> set:
    addresses = {
        _address(text)
        for family in ("ip4_interfaces", "ip6_interfaces")
        for name, texts in (grains.get(family) or {}).items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in KUBERNETES_INTERFACES)
        for text in texts
    }
    return {address for address in addresses if _is_global_unicast(address)}


def _pod_cidrs(root: Path) -> list[str]:
    try:
        lines = (root / SUBNET_FILE).read_text().splitlines()
    except (OSError, ValueError):
        return []
    variables = dict(line.strip().split("=", 1) for line in lines if "=" in line)
    networks = []
    for name in SUBNETS:
        try:
            network = ipaddress.ip_interface(variables.get(name, "")).network
        except ValueError:
            continue
        if network.prefixlen:
            networks.append(str(network))
    return networks


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _is_global_unicast(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    # Go's IsGlobalUnicast, which includes private networks; Python's is_global excludes them.
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address == ipaddress.IPv4Address("255.255.255.255")
    )
