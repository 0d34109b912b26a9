"""
What a minion knows of itself as a K3s node: its role, its cluster's name, the addresses by which
its peers see it, and the networks of its pods.

It reads files and nothing else, and must know nothing of the engine: grains are loaded before
modules are synced, so one process could hold new grains beside old engine code.
"""

# Only modules are imported by name, never functions: Salt runs every public function that it
# finds in a grains module, imported ones as well.
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
# In systemd's own order: the first folder that has a unit's name decides what the unit is.
UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
CONFIGURATION = "etc/rancher/k3s/config.yaml"
DATA_FOLDER = "/var/lib/rancher/k3s"
# Flannel writes it when it starts, and it is gone with the next boot. The addresses are those of
# the bridge, the first behind the network's own.
# https://github.com/flannel-io/flannel/blob/master/pkg/subnet/subnet.go (WriteSubnetFile)
SUBNET_FILE = "run/flannel/subnet.env"
SUBNETS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
KUBERNETES_INTERFACES = (
    "cali*",
    "cilium*",
    "cni*",
    "docker*",
    "flannel*",
    "kube-*",
    "lo",
    "tailscale*",
    "veth*",
)


def k3s(grains):
    """
    Return ``k3s_role``, ``k3s_cluster`` and ``k3s_node_ips``, and ``k3s_pod_cidrs`` once flannel
    has written down the networks of this node's pods; or nothing on a host that is no K3s node. A
    value that the operator set in the minion's configuration or in the grains file wins, each for
    itself; an empty ``k3s_role`` is the word that this host is no K3s node.
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
    # Salt lets a custom grain win over the grains file, and one of the minion's configuration
    # win over both, but only after this function ran. At that time opts["grains"] holds just
    # what the configuration says: salt.loader.grains reads it anew for each refresh.
    found = {}
    for source in (_grains_file(opts), opts.get("grains")):
        if isinstance(source, dict):
            # None is what grains.delval leaves behind.
            found.update({n: source[n] for n in NAMES if source.get(n) is not None})
    return found


def _grains_file(opts: dict) -> object:
    # Found as salt.grains.extra finds it, which also warns if it cannot be read.
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
    # A masked unit is a link to /dev/null, which is no file.
    return first is not None and first.is_file()


def _configuration(root: Path) -> dict:
    # As K3s reads it (its pkg/configfilearg): config.yaml, then config.yaml.d in order of names;
    # the later value wins, and that of "key+" is appended. K3s does not start with a file that
    # it cannot read, so one such file makes all of them worthless as knowledge of the node.
    values: dict = {}
    for path in _configuration_files(root / CONFIGURATION):
        try:
            # Every scalar stays text, as in K3s: YAML 1.1 would make a number of 2001:10:0:1.
            content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader) or {}
            items = content.items()
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
            log.warning(
                "%s cannot be read as a K3s configuration (%s), so k3s_node_ips are the addresses "
                "of this host's interfaces. Mend the file, then run: "
                "salt-call saltutil.refresh_grains",
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
            "node-ip in /%s or its config.yaml.d is not a list of addresses (%s), so "
            "k3s_node_ips are the addresses of this host's interfaces. Mend it, then run: "
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
    written = dict(line.strip().split("=", 1) for line in lines if "=" in line)
    found = []
    for name in SUBNETS:
        try:
            network = ipaddress.ip_interface(written.get(name, "")).network
        except ValueError:
            continue
        if network.prefixlen:
            found.append(str(network))
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _is_global_unicast(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    # Go's IsGlobalUnicast, private networks included; Python's is_global leaves them out.
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address == ipaddress.IPv4Address("255.255.255.255")
    )
