"""A cluster that worked without a firewall works with k3sfw, or the run refuses beforehand."""

import os

import pytest

from tests.cluster.shapes.shaped_cluster import MANAGED, PREPARED, standing
from tests.cluster.shapes.shapes import SHAPES

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

# Its pods' packets leave by another card than the one of node-ip; ``make test`` runs this one.
REPRESENTATIVE = "two cards"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[] if name == REPRESENTATIVE else pytest.mark.exhaustive)
        for name in SHAPES
    ],
)
def shaped(request):
    with standing(SHAPES[request.param]) as cluster:
        yield cluster


def comments(returned, name):
    return "\n".join(states[name]["comment"] for states in returned.values() if name in states)


def results(returned):
    return {
        f"{minion} {name}": state["comment"]
        for minion, states in returned.items()
        for name, state in states.items()
        if state["result"] is not True
    }


def test_what_worked_before_the_first_start_works_after_it_and_after_a_reboot(shaped):
    paths = shaped.paths
    assert paths.open() == paths.all()
    assert paths.stranger_reaches()
    shaped.write_site()
    if shaped.shape.needs:
        refused = shaped.apply()
        assert all(states[PREPARED]["result"] is False for states in refused.values()), refused
        assert "Fix:" in comments(refused, PREPARED)
        assert not any("firewalld" in host.daemons() for host in shaped.nodes)
        assert paths.open() == paths.all()
        shaped.write_site(shaped.shape.needs)

    assert results(shaped.apply()) == {}
    shaped.resync()
    assert paths.all() - paths.open() == set()
    assert paths.stranger_reaches() == set()

    shaped.reboot(2)
    assert paths.all() - paths.open() == set()
    assert paths.stranger_reaches() == set()
    again = shaped.apply()
    assert {name: states[MANAGED]["changes"] for name, states in again.items()} == {
        host.name: {} for host in shaped.nodes
    }


@pytest.mark.exhaustive
def test_what_worked_beside_the_sources_script_works_after_adopt(shaped):
    paths = shaped.paths
    shaped.write_site(shaped.shape.needs)
    shaped.salt("*", "k3sfw.remove")
    shaped.open_by_script()
    shaped.resync()
    before = paths.open()
    assert before
    assert results(shaped.apply()) == {}
    adopted = shaped.salt("*", "k3sfw.adopt")
    assert {name: answer["result"] for name, answer in adopted.items()} == {
        host.name: True for host in shaped.nodes
    }, adopted
    shaped.resync()
    assert before - paths.open() == set()
    assert paths.all() - paths.open() == set()
    assert paths.stranger_reaches() == set()
