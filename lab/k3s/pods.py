"""Pods as a CNI plugin makes them: network namespaces behind a node's bridge cni0.

Knows nothing of what carries packets between nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.k3s.addresses import POD, addresses, ip, no_wait, with_length
from lab.namespaces import Namespaces

# Where Debian's package has them.
CNI_PLUGINS = "/usr/lib/cni"
Addresses = dict[str, tuple[str, ...]]


def inside_of(pod: str) -> tuple[str, ...]:
    """What goes before a command to run it in the pod of this name."""
    return ("ip", "netns", "exec", pod)


INSIDE = inside_of("pod")


@contextmanager
def behind_a_bridge(
    host: Namespaces,
    number: int,
    names: Sequence[str] = ("pod",),
    patterns: Sequence[tuple[str, str]] = (POD,),
) -> Iterator[Addresses]:
    """Create pods for the block; yield the addresses of each by its name."""
    try:
        yield make(host, number, names, patterns)
    finally:
        remove(host, names)


def make(
    host: Namespaces,
    number: int,
    names: Sequence[str] = ("pod",),
    patterns: Sequence[tuple[str, str]] = (POD,),
) -> Addresses:
    """Create the bridge and the pods; each pod gets an address of every pattern and family."""
    gateways = [each for pattern in patterns for each in addresses(pattern, number, 1)]
    ip(
        host,
        "link add cni0 type bridge",
        *(f"address add {with_length(each)} dev cni0 {no_wait(each)}" for each in gateways),
        "link set cni0 up",
    )
    found: Addresses = {}
    for place, name in enumerate(names, 2):
        own = [each for pattern in patterns for each in addresses(pattern, number, place)]
        ip(
            host,
            f"netns add {name}",
            f"link add {name} type veth peer name eth0 netns {name}",
            f"link set {name} master cni0 up",
            f"link set {name} type bridge_slave hairpin on",
        )
        ip(
            host,
            "link set lo up",
            *(f"address add {with_length(each)} dev eth0 {no_wait(each)}" for each in own),
            "link set eth0 up",
            *(f"route add default via {gateway}" for gateway in gateways[:2]),
            inside=inside_of(name),
        )
        found[name] = tuple(own)
    return found


def remove(host: Namespaces, names: Sequence[str] = ("pod",)) -> None:
    """Remove these pods and the bridge."""
    ip(host, *(f"netns delete {name}" for name in names), "link delete cni0")


@contextmanager
def by_cni_plugins(
    host: Namespaces, number: int, names: Sequence[str] = ("pod", "pod2")
) -> Iterator[Addresses]:
    """Create pods by the CNI's own plugins, as kubelet calls them."""
    network = {
        "cniVersion": "0.4.0",
        "name": "cbr0",
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [
                [{"subnet": f"10.42.{number}.0/24"}],
                [{"subnet": f"fd42::{number}:0/112"}],
            ],
        },
    }
    found = {}
    with ExitStack() as stack:
        stack.callback(host.run, ["rm", "-rf", "/var/lib/cni"])
        stack.callback(host.run, ["ip", "link", "delete", "cni0"], check=False)
        for name in names:
            ip(host, f"netns add {name}")
            stack.callback(ip, host, f"netns delete {name}")
            made = _call_plugin(host, "ADD", name, network)
            stack.callback(_call_plugin, host, "DEL", name, network)
            found[name] = tuple(each["address"].partition("/")[0] for each in made["ips"])
        yield found


def _call_plugin(host: Namespaces, command: str, name: str, network: dict[str, object]) -> Any:
    """Run the plugin of this network and return its answer.

    https://github.com/containernetworking/cni/blob/main/SPEC.md
    """
    given = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_NETNS": f"/run/netns/{name}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": CNI_PLUGINS,
    }
    words = ["env", *(f"{key}={value}" for key, value in given.items())]
    done = host.run([*words, f"{CNI_PLUGINS}/{network['type']}"], input=json.dumps(network))
    return json.loads(done.stdout or "{}")
