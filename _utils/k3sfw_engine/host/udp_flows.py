"""Remove UDP flows that the kernel remembers as not redirected, as portmap does with new rules.

A client that sends often enough would keep such a flow alive, and so never reach the pod.
"""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import CONNTRACK_SECONDS
from k3sfw_engine.host.iptables_programs import k3s_programs
from k3sfw_engine.model.host_ports import PodPorts


def forget_udp_flows(pods: Iterable[PodPorts]) -> None:
    """Remove the UDP flows to the hostPorts of these pods, if the program conntrack is there."""
    ports = {each.host_port for pod in pods for each in pod.mappings if each.protocol == "udp"}
    # K3s brings the program along.
    path = run_program.find_program("conntrack", *k3s_programs())
    if path is None:
        return
    for port in sorted(ports):
        for family in ("ipv4", "ipv6"):
            words = ("-D", "-f", family, "-p", "udp", "--orig-port-dst", str(port))
            run_program.run(path, *words, seconds=CONNTRACK_SECONDS)
