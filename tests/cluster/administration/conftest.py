"""The cluster of the tests of Salt's side: minions with synced modules."""

import pytest

from lab.spec import DEFAULT_HOSTS
from tests.cluster.salt_cluster import SYNCED, standing

# Two servers and an agent: what is said of one more node is said of these.
HOSTS = tuple(spec for spec in DEFAULT_HOSTS if spec.name not in ("s3", "a2"))


@pytest.fixture(scope="session")
def cluster():
    """Nothing of ours is applied yet."""
    with standing("administration", SYNCED, HOSTS) as raised:
        yield raised


@pytest.fixture(scope="session")
def applied(cluster):
    """The cluster with ``k3s.firewall`` applied on every node."""
    cluster.apply_first()
    return cluster
