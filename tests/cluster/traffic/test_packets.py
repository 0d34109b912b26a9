"""Both tables, proven with packets: only the listed sources reach the listed ports."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from lab.k3s.addresses import POD, SERVICE, addresses, ip, no_wait
from lab.spec import HostSpec
from tests.cluster.packets import reach
from tests.cluster.packets.pod_sources import behind_a_bridge
from tests.cluster.packets.reach import Source
from tests.cluster.packets.tables import (
    FREE,
    KINDS,
    OTHER_FREE,
    PORTS,
    ROWS,
    UNLISTED,
    is_listed,
    ports_of,
)
from tests.reload_counter import counting_reloads

pytestmark = pytest.mark.cluster


def test_before_any_apply_nothing_of_the_tables_is_open(unapplied, places):
    check(places.pairs(), nothing)


def test_what_is_opened_on_the_nodes_is_seen_from_everywhere(applied, places):
    """The checker itself: every source hears answers, by both protocols in both families."""
    opened = [f"--add-port={FREE}/{protocol}" for protocol in reach.PROTOCOLS]
    closed = [f"--remove-port={FREE}/{protocol}" for protocol in reach.PROTOCOLS]

    def is_open(question):
        return question.port == FREE or question.source.kind in ("pod", "service")

    applied.on_every_node(lambda host: host.run(["firewall-cmd", *opened]))
    try:
        check(places.pairs(), is_open, {FREE, OTHER_FREE})
    finally:
        applied.on_every_node(lambda host: host.run(["firewall-cmd", *closed]))


def test_a_wrong_result_in_either_direction_is_reported(places):
    """The checker itself: it reports every difference from the tables."""
    asked = reach.questions(places.pairs(), {10250})
    answers = {question: "open" if is_listed(question) else "silence" for question in asked}
    assert reach.differences(answers, is_listed) == []
    for question, answer in answers.items():
        if (question.source.name, question.target.name, question.family) == ("s2", "a1", 4):
            answers[question] = "open" if answer == "silence" else "silence"
    assert reach.differences(answers, is_listed) == [
        "tcp/10250 over IPv4 closed (silence), should be open: s2 -> a1",
        "udp/10250 over IPv4 open, should be closed: s2 -> a1",
    ]


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_the_ports_of_a_row_are_open_to_its_sources_only(answers, row):
    if ports_of(row):
        asked = {q: answer for q, answer in answers.items() if q.port in ports_of(row)}
    else:
        asked = {q: answer for q, answer in answers.items() if q.source.kind in KINDS[row[2]]}
    assert "open" in asked.values()
    reach.report(asked, is_listed)


def test_a_port_that_no_row_lists_is_closed_to_all_but_pods_and_services(answers):
    asked = {question: answer for question, answer in answers.items() if question.port in UNLISTED}
    reach.report(asked, is_listed)


def test_a_pod_or_service_address_claimed_from_outside_opens_nothing(applied, places):
    claimed = (*addresses(POD, 200, 7), *addresses(SERVICE, 200, 7))
    with places.claimed(claimed) as claiming:
        check(places.pairs_from(claiming))


def test_the_tables_hold_after_a_reload_by_an_operator(applied, places):
    applied.on_every_node(lambda host: host.run(["firewall-cmd", "--reload"]))
    check(places.pairs())


def test_the_tables_hold_after_a_restart_of_firewalld(applied, places):
    applied.on_every_node(lambda host: host.restart_firewalld())
    check(places.pairs())


def test_one_apply_without_a_reload_adds_a_new_node_and_removes_a_gone_one(applied, places):
    with counting_reloads(applied.nodes) as reloads:
        joined = applied.join(HostSpec("a3", "agent", 23))
        as_node = reach.host_as_source(joined)
        check(places.pairs_from(replace(as_node, kind="outsider")))
        applied.converge()
        with reach.responding(joined, PORTS):
            assert {"a3"} < {target.name for _source, target in places.pairs()}
            check([*places.pairs(), *places.pairs_from(as_node)])

        applied.leave("a3")
        with places.claimed([joined.ipv4, joined.ipv6]) as claiming:
            # Until the others apply, a host with its address is treated as the node: this shows it.
            check(places.pairs_from(replace(claiming, kind="agent")))
            applied.converge()
            check([*places.pairs(), *places.pairs_from(claiming)])
        assert set(applied.salt(["s1"], "k3sfw.nodes")["s1"]) == set(applied.nodes)
        assert set(reloads().values()) == {0}


@pytest.fixture
def unapplied(cluster):
    """The cluster with nothing of ours in any firewall; it is applied again later."""
    if cluster.is_applied:
        cluster.salt("*", "k3sfw.remove")
    return cluster


@pytest.fixture(scope="module")
def places(cluster):
    """The sources and targets of probes; every node answers on all ports meanwhile."""
    with ExitStack() as stack:
        inside = []
        for number, host in enumerate(cluster.nodes.values(), 1):
            inside += stack.enter_context(behind_a_bridge(host, number))
            stack.enter_context(reach.responding(host, PORTS))
        yield Places(cluster, inside)


@pytest.fixture(scope="module")
def answers(applied, places):
    """The result of every source for every port of every node, for tests that change nothing."""
    return reach.ask(reach.questions(places.pairs(), PORTS), is_listed)


class Places:
    """The sources and targets of probes in the current cluster."""

    def __init__(self, cluster, inside):
        self._cluster = cluster
        self._inside = inside

    def pairs(self):
        """Each node and the outsider with every other node, each pod with its own node."""
        hosts = [self._cluster.host("out"), *self._cluster.nodes.values()]
        return self.pairs_from(*map(reach.host_as_source, hosts), *self._inside)

    def pairs_from(self, *sources):
        return reach.pairs(sources, self._cluster.nodes.values())

    @contextmanager
    def claimed(self, addresses):
        """The outsider with addresses that are not its own, and every node answering to them."""
        out = self._cluster.host("out")
        # Nodes that knew the address elsewhere must resolve it again.
        heard = [f"neigh flush to {address}" for address in addresses]
        heard += [f"route replace {address} dev eth0" for address in addresses]
        forgotten = [f"route delete {address} dev eth0" for address in addresses]
        ip(out, *(f"address add {address} dev eth0 {no_wait(address)}" for address in addresses))
        self._cluster.on_every_node(lambda host: ip(host, *heard))
        try:
            yield Source("out as another", "outsider", out, tuple(addresses))
        finally:
            self._cluster.on_every_node(lambda host: ip(host, *forgotten))
            ip(out, *(f"address delete {address} dev eth0" for address in addresses))


def check(pairs, is_open=is_listed, ports=PORTS):
    reach.check(pairs, ports, is_open)


def nothing(_question):
    return False
