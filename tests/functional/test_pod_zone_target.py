"""The target of zone k3s on a node that an older version furnished: DROP, without harm by it."""

import os

import pytest

from tests.functional.hosts import Node, standing

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]


@pytest.fixture(scope="module")
def node():
    with standing("target") as lab:
        yield Node(lab.host("s1"))


def test_half_of_what_an_operator_hardens_is_not_put_in_force_by_an_apply(node, pillar):
    node.call("apply", pillar)
    # As an older version left it.
    node.firewall_cmd("--permanent", "--zone=k3s", "--set-target=default")
    node.firewall_cmd("--reload")
    node.call("apply", pillar)
    assert "target: default" in node.firewall_cmd("--zone=k3s", "--list-all")
    node.firewall_cmd("--permanent", "--zone=public", "--set-target=DROP")
    node.firewall_cmd("--permanent", "--zone=public", "--remove-service=ssh")
    half_done = node.call("apply", pillar)
    assert (half_done["changes"], half_done["reloads"]) == ({}, [])
    assert "target: default" in node.firewall_cmd("--zone=public", "--list-all")

    # The operator's own reload puts ours in force as well.
    node.firewall_cmd("--permanent", "--zone=public", "--add-service=ssh")
    node.firewall_cmd("--reload")
    assert "target: DROP" in node.firewall_cmd("--zone=k3s", "--list-all")
    assert node.call("apply", pillar)["changes"] == {}
