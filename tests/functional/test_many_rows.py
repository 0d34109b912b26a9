"""Many rows change at once: by a reload where that costs clients nothing, otherwise one by one."""

import json

import pytest

from lab.connection_stream import stream
from tests.functional.hosts import standing
from tests.functional.knocking import CLOSED, OPEN, knocking
from tests.functional.transactions import TransactionNode

FAST_RELOAD = {"reload": 0.3, "rule": 0.1}
SLOW_RELOAD = {"reload": 30.0, "rule": 0.1}


@pytest.fixture(scope="module")
def raised():
    with standing("manyrows") as lab:
        yield lab


@pytest.fixture
def node(raised, pillar):
    host = TransactionNode(raised.host("s1"))
    host.call("apply", pillar)
    return host


@pytest.fixture
def many_rows(pillar):
    rows = {f"row{at}": {"protocol": "tcp", "port": 20000 + at} for at in range(30)}
    manager = {**pillar["ports"]["manager"], **rows}
    return {**pillar, "ports": {**pillar["ports"], "manager": manager}}


def pace(node, figures):
    node.path("/var/lib/k3sfw/pace.json").write_text(json.dumps(figures))


def test_many_rows_come_with_one_reload_where_it_is_faster(raised, node, pillar, many_rows):
    out, s1 = raised.host("out"), raised.host("s1")
    pace(node, FAST_RELOAD)
    predicted = node.call("apply", many_rows, test=True)
    with node.reload_counter() as reloads, stream(out, s1, OPEN) as wanted:
        with knocking(out, s1, CLOSED) as knocks:
            made = node.call("apply", many_rows)
        assert reloads.count() == 1
    assert made["changes"] == predicted["changes"]
    assert made["reloads"] == predicted["reloads"] != []
    # A reload drops first packets, which are repeated; it never refuses one.
    assert set(wanted.counts) <= {"open", "ETIMEDOUT", "TimeoutError"}
    assert wanted.counts["open"] > 5
    assert knocks[1] == 0
    assert node.call("apply", many_rows)["changes"] == {}
    assert json.loads(node.path("/var/lib/k3sfw/pace.json").read_text()) != FAST_RELOAD


def test_many_rows_change_one_by_one_where_a_reload_takes_longer(node, pillar, many_rows):
    pace(node, SLOW_RELOAD)
    with node.reload_counter() as reloads:
        made = node.call("apply", many_rows)
        assert made["reloads"] == [] and made["changes"]
        assert reloads.count() == 0
    measured = json.loads(node.path("/var/lib/k3sfw/pace.json").read_text())
    assert measured["reload"] == SLOW_RELOAD["reload"]
    assert measured["rule"] != SLOW_RELOAD["rule"]


@pytest.mark.parametrize(
    "of_others",
    [
        ("--zone=public", "--add-port=8080/tcp"),
        ("--direct", "--add-rule", "ipv4", "filter", "INPUT", "0", "-j", "ACCEPT"),
    ],
)
def test_a_reload_that_others_would_notice_is_not_made_for_rows(node, pillar, many_rows, of_others):
    node.firewall_cmd(*of_others)
    pace(node, FAST_RELOAD)
    before = node.others()
    try:
        assert node.call("apply", many_rows)["reloads"] == []
        assert node.others() == before
    finally:
        node.firewall_cmd(*(word.replace("add", "remove") for word in of_others))


def test_a_change_by_reload_that_dies_is_undone(node, pillar, many_rows):
    pace(node, FAST_RELOAD)
    before = node.state()
    steps = node.drive(99, "kill", many_rows)["steps"]
    node.call("apply", pillar)
    pace(node, FAST_RELOAD)
    node.drive(steps.index("execute"), "kill", many_rows)
    node.wait_until_ended()
    assert node.state() == before
    node.assert_nothing_is_left()
