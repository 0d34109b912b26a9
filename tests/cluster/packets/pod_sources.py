"""Pods of the lab as sources of probes."""

from contextlib import contextmanager

from lab.k3s import pods
from lab.k3s.addresses import POD, SERVICE
from tests.cluster.packets.reach import Source


@contextmanager
def behind_a_bridge(host, number):
    """A pod as a source, and the same place with the addresses of a service."""
    with pods.behind_a_bridge(host, number, patterns=(POD, SERVICE)) as made:
        own = made["pod"]
        yield [
            Source(f"pod on {host.name}", "pod", host, own[:2], pods.INSIDE),
            Source(f"service on {host.name}", "service", host, own[2:], pods.INSIDE),
        ]
