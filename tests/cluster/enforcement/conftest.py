"""The cluster for the tests of enforcement: minions with synced modules."""

import pytest

from lab.spec import DEFAULT_HOSTS
from tests.cluster.enforcement.one_more_row import EXPORTER, HISTORY
from tests.cluster.salt_cluster import SYNCED, standing

# A server and an agent; more nodes would prove nothing more.
HOSTS = tuple(spec for spec in DEFAULT_HOSTS if spec.name in ("m", "s1", "a1"))


@pytest.fixture(scope="session")
def cluster():
    """The cluster, with nothing of ours applied."""
    with standing("enforcement", SYNCED, HOSTS) as raised:
        yield raised


@pytest.fixture(scope="session")
def applied(cluster):
    """The cluster with ``k3s.firewall`` applied on every node."""
    cluster.apply_first()
    return cluster


@pytest.fixture
def changed(applied):
    """The cluster with one more row in pillar than on its nodes, and no history on s1."""
    applied.host("s1").run(["rm", "-rf", HISTORY])
    with applied.site(EXPORTER):
        yield applied
