"""The cluster for the tests of traffic: minions with installed modules."""

import pytest

from lab.spec import DEFAULT_HOSTS
from tests.cluster.salt_cluster import INSTALLED, standing

# Two nodes of each role: what is said of one more is said of these.
HOSTS = tuple(spec for spec in DEFAULT_HOSTS if spec.name != "s3")


@pytest.fixture(scope="session")
def cluster():
    """The cluster, with nothing of ours applied."""
    with standing("traffic", INSTALLED, HOSTS) as raised:
        yield raised


@pytest.fixture(scope="session")
def applied(cluster):
    """The cluster with ``k3s.firewall`` applied on every node."""
    cluster.apply_first()
    return cluster
