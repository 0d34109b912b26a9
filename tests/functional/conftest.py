"""A host with a real firewalld for each test, and the tables that are applied to it."""

import copy

import pytest

from tests.functional.hosts import Node, standing


@pytest.fixture
def lab():
    with standing("func") as raised:
        yield raised


@pytest.fixture
def node(lab):
    return Node(lab.host("s1"))


@pytest.fixture
def outsider(lab):
    return lab.host("out")


@pytest.fixture
def pillar():
    """Tables of the documented shape, small enough to read; a test changes its own copy."""
    return copy.deepcopy(
        {
            "ports": {
                "cluster": {
                    "etcd": {
                        "protocol": "tcp",
                        "port": "2379-2380",
                        "source": "server",
                        "destination": "server",
                    },
                    "kubelet": {
                        "protocol": "tcp",
                        "port": 10250,
                        "source": "any",
                        "destination": "any",
                    },
                    "flannel": {
                        "protocol": "udp",
                        "port": 8472,
                        "source": "any",
                        "destination": "any",
                    },
                    "pods": {"protocol": "any", "source": "pods", "destination": "any"},
                },
                "manager": {"redis": {"protocol": "tcp", "port": 6379}},
            },
            "nodes": {
                "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
                "s2": {"role": "server", "addresses": ["192.0.2.12"]},
                "a1": {"role": "agent", "addresses": ["192.0.2.21"]},
            },
        }
    )


@pytest.fixture
def new_row(pillar):
    """The same tables with one row more, for which no reload is needed."""
    row = {"protocol": "tcp", "port": 9100, "source": "any", "destination": "any"}
    cluster = {**pillar["ports"]["cluster"], "exporter": row}
    return {**pillar, "ports": {**pillar["ports"], "cluster": cluster}}
