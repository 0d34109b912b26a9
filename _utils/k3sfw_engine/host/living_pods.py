"""Which pods live, of those whose network was set up once.

The results of the CNI outlive a crash and a reboot. The rules of a pod that is gone must not come
back: another pod may have its address.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from k3sfw_engine.model.host_ports import PodPorts, without_shared_addresses

# Where the CNI's plugin host-local notes which container has an address.
_ALLOCATIONS = "var/lib/cni/networks"


def still_set_up(pods: Iterable[PodPorts], root: Path = Path("/")) -> tuple[PodPorts, ...]:
    """Return the pods whose network is still there, as far as a few looks into files show it."""
    here = os.stat("/proc/self/ns/net")
    # A namespace that was named after a process may have become another pod's, with other links.
    links = {name for _number, name in socket.if_nameindex()}
    return without_shared_addresses(
        pod
        for pod in pods
        if _namespace(pod.namespace, here)
        and links.issuperset(pod.links)
        and _has_addresses(pod, root)
    )


def living(pods: Iterable[PodPorts], root: Path = Path("/")) -> tuple[PodPorts, ...]:
    """Return the pods that are set up and in whose network namespace a process runs.

    A runtime ends a pod's processes before it removes its network.
    """
    found = still_set_up(pods, root)
    if not found:
        return ()
    here = os.stat("/proc/self/ns/net")
    in_use = _namespaces_in_use()
    return tuple(pod for pod in found if _namespace(pod.namespace, here) in in_use)


def _namespace(path: str, here: os.stat_result) -> int:
    """The number of another network namespace than this one, or 0."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return 0
    is_other = found.st_dev == here.st_dev and found.st_ino != here.st_ino
    return found.st_ino if is_other else 0


def _has_addresses(pod: PodPorts, root: Path) -> bool:
    """Whether the plugin host-local, where it is in use, has given none of them to another pod."""
    for address in pod.addresses.values():
        path = root / _ALLOCATIONS / pod.network / str(address.ip)
        try:
            owner = path.read_text(errors="replace").split()
        except OSError:
            continue
        if owner[:1] != [pod.container]:
            return False
    return True


def _namespaces_in_use() -> frozenset[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.add(os.stat(f"/proc/{name}/ns/net").st_ino)
            except OSError:
                continue  # It ended meanwhile.
    return frozenset(found)
