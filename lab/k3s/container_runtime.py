"""Pods with hostPorts as K3s's containerd makes them: a chain of CNI plugins, and a kept result.

The plugins are the real ones. K3s's flannel plugin only adds a node's network and calls bridge, so
bridge is called directly.
https://github.com/containernetworking/cni/blob/main/libcni/api.go
https://github.com/containerd/go-cni
"""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.k3s.addresses import ip, node_network
from lab.k3s.pods import CNI_PLUGINS, inside_of
from lab.namespaces import Namespaces
from lab.wait import wait_until

NETWORK, LINK = "cbr0", "eth0"
RESULTS = "/var/lib/cni/results"


@dataclass(frozen=True)
class HostPort:
    """A port of the node that leads to a port of the pod."""

    host: int
    container: int
    protocol: str = "tcp"
    address: str = ""


@dataclass(frozen=True)
class Pod:
    """A pod whose network is set up."""

    name: str
    container: str
    addresses: tuple[str, ...]
    arguments: Mapping[str, Any]

    @property
    def inside(self) -> tuple[str, ...]:
        """What goes before a command to run it in the pod."""
        return inside_of(self.namespace)

    @property
    def namespace(self) -> str:
        """The name of its network namespace."""
        return f"cni-{self.container[:12]}"


def network(number: int, portmap: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The network of a node's pods as K3s configures it, with settings of the plugin portmap."""
    ranges = [[{"subnet": node_network(family, number)}] for family in (4, 6)]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "hairpinMode": True,
        "forceAddress": True,
        "isDefaultGateway": True,
        "ipam": {"type": "host-local", "ranges": ranges},
    }
    chained = {"type": "portmap", "capabilities": {"portMappings": True}, **(portmap or {})}
    return {"name": NETWORK, "cniVersion": "1.0.0", "plugins": [bridge, chained]}


def add_pod(
    host: Namespaces, name: str, ports: Sequence[HostPort], conflist: Mapping[str, Any]
) -> Pod:
    """Set the network of a new pod up, and keep the result."""
    container = secrets.token_hex(32)
    mappings = [
        {
            "HostPort": each.host,
            "ContainerPort": each.container,
            "Protocol": each.protocol,
            "HostIP": each.address,
        }
        for each in ports
    ]
    pod = Pod(name, container, (), {"portMappings": mappings, "dns": {}})
    ip(host, f"netns add {pod.namespace}")
    ip(host, "link set lo up", inside=pod.inside)
    result: dict[str, Any] = {}
    for plugin in conflist["plugins"]:
        result = _call(host, "ADD", pod, conflist, plugin, result)
    _keep(host, pod, conflist, result)
    addresses = tuple(each["address"].partition("/")[0] for each in result["ips"])
    return Pod(name, container, addresses, pod.arguments)


def run_in(host: Namespaces, pod: Pod, command: Sequence[str]) -> None:
    """Start a program in a pod."""
    detached = shlex.join(["setsid", "--fork", *pod.inside, *command])
    host.run(["sh", "-ec", f"{detached} </dev/null >/run/{pod.namespace}.log 2>&1"])
    wait_until(lambda: bool(_processes(host, pod)), f"nothing runs in {pod.name}", timeout=10)


def end_processes(host: Namespaces, pod: Pod) -> None:
    """Kill what runs in a pod; its network stays."""
    host.run(["sh", "-c", f"ip netns pids {pod.namespace} | xargs -r kill -9"])
    wait_until(lambda: not _processes(host, pod), f"{pod.name} still runs", timeout=10)


def delete_pod(host: Namespaces, pod: Pod, conflist: Mapping[str, Any]) -> None:
    """Remove a pod as its runtime does: its processes, its network, then the kept result."""
    end_processes(host, pod)
    kept = json.loads(_result(host, pod).read_text())
    for plugin in reversed(conflist["plugins"]):
        _call(host, "DEL", pod, conflist, plugin, kept["result"])
    _result(host, pod).unlink()
    ip(host, f"netns delete {pod.namespace}")


def remove_network(host: Namespaces) -> None:
    """Remove the bridge and what the plugins keep, after the last pod."""
    host.run(["ip", "link", "delete", "cni0"], check=False)
    host.run(["rm", "-rf", "/var/lib/cni"])


@contextmanager
def running(
    host: Namespaces,
    name: str,
    ports: Sequence[HostPort],
    command: Sequence[str],
    conflist: Mapping[str, Any],
) -> Iterator[Pod]:
    """Run a program in a pod of its own for the block."""
    pod = add_pod(host, name, ports, conflist)
    try:
        run_in(host, pod, command)
        yield pod
    finally:
        if _result(host, pod).exists():
            delete_pod(host, pod, conflist)


def _processes(host: Namespaces, pod: Pod) -> list[str]:
    return host.run(["ip", "netns", "pids", pod.namespace]).stdout.split()


def _call(
    host: Namespaces,
    command: str,
    pod: Pod,
    conflist: Mapping[str, Any],
    plugin: Mapping[str, Any],
    result: Mapping[str, Any],
) -> Any:
    given = {**plugin, "name": conflist["name"], "cniVersion": conflist["cniVersion"]}
    if result:
        given["prevResult"] = result
    if asked := {key: pod.arguments[key] for key in plugin.get("capabilities", ())}:
        given["runtimeConfig"] = asked
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.container,
        "CNI_NETNS": f"/var/run/netns/{pod.namespace}",
        "CNI_IFNAME": LINK,
        "CNI_ARGS": ";".join("=".join(each) for each in _words(pod)),
        "CNI_PATH": CNI_PLUGINS,
    }
    words = ["env", *(f"{key}={value}" for key, value in variables.items())]
    done = host.run([*words, f"{CNI_PLUGINS}/{plugin['type']}"], input=json.dumps(given))
    return json.loads(done.stdout or "{}")


def _words(pod: Pod) -> list[list[str]]:
    return [
        ["IgnoreUnknown", "1"],
        ["K8S_POD_NAMESPACE", "kube-system"],
        ["K8S_POD_NAME", pod.name],
        ["K8S_POD_INFRA_CONTAINER_ID", pod.container],
    ]


def _keep(
    host: Namespaces, pod: Pod, conflist: Mapping[str, Any], result: Mapping[str, Any]
) -> None:
    kept = {
        "kind": "cniCacheV1",
        "containerId": pod.container,
        "config": base64.b64encode(json.dumps(conflist).encode()).decode(),
        "ifName": LINK,
        "networkName": conflist["name"],
        "netns": f"/var/run/netns/{pod.namespace}",
        "cniArgs": _words(pod),
        "capabilityArgs": pod.arguments,
        "result": result,
    }
    path = _result(host, pod)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps(kept))


def _result(host: Namespaces, pod: Pod) -> Path:
    return host.path(f"{RESULTS}/{NETWORK}-{pod.container}-{LINK}")
