"""
The grains of a K3s node: its role, the name of its cluster, the addresses that its peers see, the
networks of its pods, what is doubtful about them, and whether it is an image of a node so far.

Reads files and asks the kernel; starts nothing, sends nothing, and imports nothing of the engine:
grains are loaded before modules are synced, so one process could hold new grains beside old engine
code.
"""

# This file and those that Salt loads in _modules, _states and _runners are read by Python 3.6 too,
# so that a minion whose Python is too old for the rest can say so.

# Import modules, never functions: Salt calls every public function of a grains module, imported
# ones included.
import importlib
import logging
import os
import platform
import re
import socket
import sys
import types
import uuid
from pathlib import Path

import yaml

log = logging.getLogger(__name__)

# As in setup.cfg.
LOWEST_PYTHON = (3, 9)
NAMES = ("k3s_role", "k3s_cluster", "k3s_node_ips", "k3s_pod_cidrs", "k3s_doubts")


def _siblings(*names: str):
    """
    Import the files beside this one anew, as modules of a package that is then forgotten.

    Salt's loader executes this file again after each sync, in a process that lives for months. What
    stayed in ``sys.modules`` would be of the version before.
    """
    package = types.ModuleType(f"k3s_grains_{uuid.uuid4().hex}")
    package.__path__ = [str(Path(__file__).parent)]
    sys.modules[package.__name__] = package
    try:
        return [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    finally:
        for name in [name for name in sys.modules if name.startswith(package.__name__)]:
            del sys.modules[name]


try:
    _addresses, _configuration, _doubts, _host, _image, _kernel, _records = _siblings(
        "_k3s_addresses",
        "_k3s_configuration",
        "_k3s_doubts",
        "_k3s_host",
        "_k3s_image",
        "_k3s_kernel",
        "_k3s_records",
    )
    _FAILURE = None
except Exception as error:  # Any exception is possible if files are missing or outdated.
    _FAILURE = error


def k3s():
    """
    Return ``k3s_role``, ``k3s_cluster`` and ``k3s_node_ips``, ``k3s_pod_cidrs`` once flannel has
    written its subnet file, ``k3s_doubts`` if something could not be read or contradicts itself,
    and ``k3s_image`` in an image of a node, whose addresses are only those that are set. On a host
    that is not a K3s node, return nothing.

    Each value that the operator set in the minion's configuration or in the grains file wins; an
    empty ``k3s_role`` means that this host is not a K3s node.

    Under a Python that is too old for k3sfw, return ``k3s_doubts`` alone: the node cannot be given
    rules, so it gets no role by itself.
    """
    operator = _set_by_operator(__opts__)
    root = Path("/")
    if "k3s_role" in operator and not operator["k3s_role"]:
        return {}
    if sys.version_info < LOWEST_PYTHON:
        is_node = operator.get("k3s_role") or _plain_role(root)
        return {"k3s_doubts": [_python_is_too_old()]} if is_node else {}
    try:
        if _FAILURE is not None:
            raise _FAILURE
        return _node(root, operator, _kernel.read_network)
    except Exception as error:  # Without any grains, peers would close themselves to this node.
        log.warning("The grains of K3s could not be read", exc_info=True)
        return _plain_node(root, operator, error)


def _node(root: Path, operator: dict, read_network) -> dict:
    host = _host.look_at(root)
    role = operator.get("k3s_role", host.role)
    if not role:
        return {}
    node = {"k3s_role": role, "k3s_cluster": "default", **operator}
    if _image.is_image():
        # The network is that of the host which builds it.
        return {"k3s_node_ips": [], **node, "k3s_image": True}
    doubts = list(host.doubts_about_role(operator.get("k3s_role")))
    if "k3s_node_ips" not in node:
        claim = _addresses.claim(root, host.configurations, _network(read_network, doubts))
        node["k3s_node_ips"] = claim.texts()
        doubts += claim.doubts
    pod_cidrs = _records.pod_cidrs(root)
    if pod_cidrs:
        node.setdefault("k3s_pod_cidrs", pod_cidrs)
    if doubts:
        node["k3s_doubts"] = list(dict.fromkeys(doubts))
    return node


def _network(read_network, doubts: list):
    try:
        return read_network()
    except OSError as error:
        doubts.append(_doubts.kernel_is_silent(error))
        return _kernel.Network()


def _plain_node(root: Path, operator: dict, error: Exception) -> dict:
    """
    What can be read without the files beside this one, which a sync can leave out: Salt's file
    server lists its files only every 20 seconds, and a new file may not be in that list.
    """
    role = operator.get("k3s_role") or _plain_role(root)
    if not role:
        return {}
    # The same sentence at each reading, or it would look like a change.
    why = re.sub(r"k3s_grains_\w+\.", "", f"{type(error).__name__}: {error}")
    doubt = (
        f"the addresses and the role of this node are only guessed, because its grains failed "
        f"({why}). Fix: run salt-run fileserver.clear_file_list_cache on the master, then "
        "saltutil.sync_all"
    )
    node = {"k3s_role": role, "k3s_cluster": "default", "k3s_doubts": [doubt], **operator}
    node.setdefault("k3s_node_ips", _plain_addresses(root))
    return node


def _python_is_too_old() -> str:
    lowest = ".".join(map(str, LOWEST_PYTHON))
    return (
        f"k3sfw needs Python {lowest} or newer, and {sys.executable}, which runs this minion, is "
        f"Python {platform.python_version()}. Fix: run the minion from the packages of the Salt "
        "Project, or SUSE's venv-salt-minion: they bring a Python of their own"
    )


def _plain_role(root: Path) -> str:
    """A server only if the data folder says so and no service of K3s has the word agent."""
    data = root / "var/lib/rancher/k3s"
    if any(re.search(r"(?<![\w-])agent(?![\w-])", text) for text in _service_texts(root)):
        return "agent"
    return next((role for role in ("server", "agent") if os.path.isdir(data / role)), "")


def _service_texts(root: Path):
    for folder in ("etc/systemd/system", "etc/init.d", "etc/conf.d"):
        try:
            names = [name for name in os.listdir(root / folder) if name.startswith("k3s")]
        except OSError:
            continue
        for name in names:
            if name.startswith("k3s-agent"):
                yield "agent"
            try:
                yield (root / folder / name).read_text(errors="replace")
            except OSError:
                continue  # a folder of drop-ins, or a link that leads nowhere


def _plain_addresses(root: Path) -> list:
    try:
        text = (root / "etc/rancher/k3s/config.yaml").read_text()
    except (OSError, ValueError):
        text = ""
    listed = re.findall(r"^node-ip:[ \t]*['\"]?([0-9a-fA-F.:,]+)", text, re.MULTILINE)
    found = ",".join(listed).strip(",").split(",") if listed else []
    # Towards any address outside: that of the default route. No packet is sent.
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((outside, 6443))
                found.append(probe.getsockname()[0])
        except OSError:
            continue  # no route in this family
    return list(dict.fromkeys(found))


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
