"""The cluster for the tests of traffic: minions with installed modules."""

import pytest

from tests.cluster.salt_cluster import INSTALLED, standing


@pytest.fixture(scope="session")
def cluster():
    """The cluster, with nothing of ours applied."""
    with standing("traffic", INSTALLED) as raised:
        yield raised


@pytest.fixture(scope="session")
def applied(cluster):
    """The cluster with ``k3s.firewall`` applied on every node."""
    cluster.apply_first()
    return cluster
