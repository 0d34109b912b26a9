"""Finds hostPorts that lost their rules, and writes the rules of the pods that still live again.

The CNI plugin portmap writes the rules of a pod's hostPorts once, when the pod starts, and so those
of K3s's ServiceLB. A firewalld before 2.0 flushes them with each reload and restart.
https://github.com/rancher/rke2/issues/10469
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from k3sfw_engine.errors import EngineError
from k3sfw_engine.healing import messages
from k3sfw_engine.healing.known_damage import HealResult
from k3sfw_engine.host.cni_results import read_host_ports
from k3sfw_engine.host.defaults import HOST_PORT_ATTEMPTS
from k3sfw_engine.host.host_ports_in_iptables import (
    are_all_in_iptables,
    lost_in_iptables,
    remove_from_iptables,
    write_into_iptables,
)
from k3sfw_engine.host.host_ports_in_nft import (
    containers_in_nft,
    lost_in_nft,
    remove_with_nft,
    write_with_nft,
)
from k3sfw_engine.host.living_pods import living, still_set_up
from k3sfw_engine.host.udp_flows import forget_udp_flows
from k3sfw_engine.model.difference import Difference, Differences
from k3sfw_engine.model.host_ports import HostPorts, PodPorts
from k3sfw_engine.model.portmap_rules import chain_of

_ROOT = Path("/")


def find_lost_host_ports(root: Path = _ROOT) -> HostPorts:
    """Find the living pods whose hostPorts no rule redirects any more."""
    try:
        _known, lost = _look(root)
    except EngineError as error:
        return HostPorts((), error.problems)
    return lost


def heal_host_ports(*, test: bool, root: Path = _ROOT) -> HealResult:
    """Write the lost rules of living pods again, or report what would be written.

    Raises ``EngineError`` if they cannot be written.
    """
    _known, lost = _look(root)
    if lost.pods and not test:
        _write_again(root)
    return HealResult(
        tuple(difference for pod in lost.pods for difference in _differences(pod)),
        tuple(
            messages.healed(messages.host_ports_lost(pod), "writing them again", test=test)
            for pod in lost.pods
        ),
        tuple(map(str, lost.unread)),
    )


def heal_host_ports_if_possible(*, test: bool = False) -> HealResult:
    """The same for a run that has another purpose: what fails is a notice."""
    try:
        return heal_host_ports(test=test)
    except EngineError as error:
        return HealResult(notices=error.sentences)


def _differences(pod: PodPorts) -> Differences:
    return tuple(
        Difference("kernel", f"hostPort {port} of pod {pod.pod}", missing=targets)
        for port, targets in pod.targets.items()
    )


def _look(root: Path) -> tuple[HostPorts, HostPorts]:
    """All pods with hostPorts, and those of them that live and lost rules."""
    known = read_host_ports(root)
    pods = still_set_up(known.pods, root)
    if not pods:
        return known, HostPorts((), known.unread)
    by_iptables, by_nft = _by_backend(pods)
    found = (lost_in_iptables(by_iptables, root), lost_in_nft(by_nft))
    lost = [pod for each in found for pod in each.pods]
    unread = (problem for each in found for problem in each.unread)
    return known, HostPorts(living(lost, root), (*known.unread, *unread))


def _by_backend(pods: Iterable[PodPorts]) -> tuple[list[PodPorts], list[PodPorts]]:
    """Part pods by what portmap writes their rules with.

    Where the network does not say it, portmap takes nftables only if it does not find iptables.
    """
    pods = tuple(pods)
    unsaid = [pod for pod in pods if not pod.backend]
    there = frozenset() if are_all_in_iptables(unsaid) else containers_in_nft()
    by_nft = [
        pod
        for pod in pods
        if pod.backend == "nftables" or (not pod.backend and pod.container in there)
    ]
    return [pod for pod in pods if pod not in by_nft], by_nft


def _write_again(root: Path) -> None:
    """Write until nothing is lost: a program that writes too can make an attempt fail."""
    written: dict[str, PodPorts] = {}
    reasons: tuple[str, ...] = ()
    for _ in range(HOST_PORT_ATTEMPTS):
        known, lost = _look(root)
        if not lost.pods:
            break
        written.update({chain_of(pod): pod for pod in lost.pods})
        by_iptables, by_nft = _by_backend(lost.pods)
        reasons = (
            *write_into_iptables(by_iptables, known.pods, root),
            *write_with_nft(by_nft),
        )
    else:
        raise EngineError([messages.host_ports_stay_lost(reasons)])
    forget_udp_flows(written.values())
    # A pod that ended in these milliseconds may have lost its rules before they were written.
    alive = {chain_of(pod) for pod in living(written.values(), root)}
    by_iptables, by_nft = _by_backend(pod for name, pod in written.items() if name not in alive)
    remove_from_iptables(by_iptables, root)
    remove_with_nft(by_nft)
