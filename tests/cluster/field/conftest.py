"""A cluster whose nodes are all different from each other, with installed modules.

Each was installed in another way, and has other programs or networks beside K3s.
"""

import pytest

from lab import other_software
from lab.k3s import flannel
from tests.cluster.field.different_nodes import HOSTS, NODE_LOCAL_DNS, VIRTUAL
from tests.cluster.salt_cluster import INSTALLED, standing


@pytest.fixture(scope="session")
def cluster():
    """The cluster, with nothing of ours applied."""
    with standing("field", INSTALLED, HOSTS) as raised:
        for name in ("s1", "a1"):
            other_software.make_bridges(raised.host(name))
            flannel.accept_forwarded(raised.host(name))
        other_software.make_bridges(raised.host("a2"), ["podman", "lxd"])
        other_software.make_dummy(raised.host("a4"), "nodelocaldns", NODE_LOCAL_DNS)
        with other_software.virtual_address(raised.host("s2"), VIRTUAL):
            # The grains of a minion are as old as its start.
            raised.salt("*", "saltutil.refresh_grains")
            yield raised


@pytest.fixture(scope="session")
def applied(cluster):
    """The cluster with ``k3s.firewall`` applied on every node."""
    cluster.apply_first()
    return cluster
