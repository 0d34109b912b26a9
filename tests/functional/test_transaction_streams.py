"""New connections, one after the other, during changes that succeed and that are undone."""

import pytest

from lab.connection_stream import stream
from tests.functional.hosts import standing
from tests.functional.knocking import CLOSED, OPEN, knocking
from tests.functional.transactions import TransactionNode


def test_new_connections_get_through_where_the_port_is_open(raised, node):
    with knocking(raised.host("out"), raised.host("s1"), OPEN) as counts:
        node.firewall_cmd("--state")
    assert counts[1] > 5


@pytest.fixture(scope="module")
def raised():
    with standing("streams") as lab:
        yield lab


@pytest.fixture
def node(raised, pillar):
    host = TransactionNode(raised.host("s1"))
    host.call("apply", pillar)
    return host


def test_without_a_reload_no_connection_is_lost_and_none_reaches_a_closed_port(
    raised, node, pillar, new_row
):
    out, s1 = raised.host("out"), raised.host("s1")
    with stream(out, s1, OPEN) as wanted, knocking(out, s1, CLOSED) as knocks:
        node.call("apply", new_row)
        node.call("rollback", new_row)
        steps = node.drive(99, "kill", new_row)["steps"]
        node.call("apply", pillar)
        node.drive(steps.index("execute"), "fail", new_row)
        node.drive(steps.index("execute"), "kill", new_row)
        node.wait_until_ended()
        node.call("apply", new_row, confirm_within=1)
        node.wait_until_ended()
    assert set(wanted.counts) == {"open"}
    assert wanted.counts["open"] > 5
    assert knocks[0] > 100 and knocks[1] == 0


def test_no_closed_port_is_reached_while_reloads_are_undone_and_firewalld_dies(
    raised, node, pillar
):
    out, s1 = raised.host("out"), raised.host("s1")
    with knocking(out, s1, CLOSED) as knocks:
        node.call("remove")
        steps = node.drive(99, "kill", pillar)["steps"]
        node.call("remove")
        for way, more in (("fail", {}), ("kill", {}), ("kill-firewalld", {})):
            node.drive(steps.index("execute"), way, pillar, **more)
            node.wait_until_ended()
        node.drive(99, "kill", pillar, kill_in_reload=0.1)
        node.wait_until_ended()
    assert knocks[0] > 100 and knocks[1] == 0, knocks
