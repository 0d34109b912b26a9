"""The cluster for the tests of the checks: minions with installed modules."""

from contextlib import ExitStack

import pytest

from lab.k3s import flannel
from tests.cluster.packets.checked_routes import NUMBERS, Routes, as_a_node, peers_of
from tests.cluster.packets.pod_sources import behind_a_bridge
from tests.cluster.salt_cluster import INSTALLED, standing


@pytest.fixture(scope="session")
def cluster():
    """The cluster, with nothing of ours applied."""
    with standing("checks", INSTALLED) as raised:
        yield raised


@pytest.fixture(scope="session")
def applied(cluster):
    """The cluster with ``k3s.firewall`` applied on every node."""
    cluster.apply_first()
    return cluster


@pytest.fixture(scope="module")
def overlay(applied):
    """Pods on every node, a vxlan overlay between all of them, and a default route."""
    with ExitStack() as stack:
        for host in applied.nodes.values():
            number, peers = NUMBERS[host.name], peers_of(applied, host)
            stack.enter_context(behind_a_bridge(host, number))
            stack.enter_context(flannel.vxlan(host, number, peers))
            stack.enter_context(as_a_node(host, number, peers))
        yield stack.enter_context(Routes(applied))
