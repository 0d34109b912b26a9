"""What a node asks of its peers by the tables, and what their answers come to."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.checks.ports import arrival_check, overlay_check, port_check, questions_to_peers
from k3sfw_engine.checks.ports.port_check import ProbeContext
from k3sfw_engine.checks.ports.questions_to_peers import Filter, Via
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.echo import Echo, EchoResult, as_answer
from k3sfw_engine.model.overlay import OverlayDevice, OverlayFacts
from k3sfw_engine.model.packet_question import (
    NO_PORT,
    Answer,
    Arrival,
    IcmpError,
    PacketQuestion,
    ProbeResult,
    failed,
)
from k3sfw_engine.model.rows import Node, PortRange, Protocol, Role
from k3sfw_engine.probes.packet_recorder import command, read_recorded
from tests.unit.samples import NODES, changed, parsed, pillar

TCP, UDP = Protocol.TCP, Protocol.UDP
SERVER_ONLY = {"etcd", "api", "spegel"}


def tables(role="agent", tree=None):
    """As the master compiles them for check_ports: rows of both roles, told apart."""
    tree = pillar() if tree is None else tree
    cluster = tree["ports"]["cluster"]
    if role == "agent":
        only = {name: cluster.pop(name) for name in SERVER_ONLY & set(cluster)}
        tree["peer_ports"] = {"cluster": only, "manager": {}}
    else:
        tree["peer_ports"] = {}
    return parsed(tree, role)


def own(found, name):
    return next(node for node in found.nodes if node.name == name)


def asked(found, name, *to, overlay=None, narrow=questions_to_peers.EVERYTHING, turn=0):
    chosen = [node for node in found.nodes if node.name in to]
    return questions_to_peers.questions(found, own(found, name), chosen, overlay, narrow, turn)


def signs(questions):
    """``{address: {"tcp/80": "open", …}}`` without the port that no row names."""
    signs: dict[str, dict[str, str]] = {}
    for each in questions:
        if each.description != "a port that no row names":
            service = f"{each.question.protocol.value}/{each.question.port}"
            signs.setdefault(each.address, {})[service] = each.expect.value
    return signs


def test_a_peer_of_which_no_address_is_believed_is_not_asked():
    claimed = {"role": "agent", "addresses": ["10.0.2.15"]}
    tree = pillar()
    tree["nodes"] |= {name: {**claimed, "claimed": claimed} for name in ("x1", "x2")}
    found = tables("agent", tree)
    assert not list(asked(found, "a1", "x1", "x2"))
    chosen = [own(found, "x1"), own(found, "x2")]
    assert list(questions_to_peers.unasked_peers(found, own(found, "a1"), chosen)) == []


MANAGER = dict.fromkeys(("tcp/3000", "tcp/9095", "tcp/9093", "tcp/9090", "tcp/6379"), "open")
ANY = dict.fromkeys(("udp/8472", "tcp/10250", "tcp/9500", "tcp/8500", "tcp/80", "tcp/443"), "open")
SERVERS = {"tcp/6443": "open", "tcp/5001": "open"}


def test_an_agent_asks_a_server_for_all_it_may_and_for_etcd_which_it_may_not():
    found = signs(asked(tables(), "a1", "s1"))
    expected = {**MANAGER, **ANY, **SERVERS, "tcp/2379": "closed", "tcp/2380": "closed"}
    assert found == {"192.0.2.11": expected, "2001:db8::11": expected}


def test_a_server_asks_a_server_for_etcd_too():
    found = signs(asked(tables("server"), "s1", "s2"))
    expected = {**MANAGER, **ANY, **SERVERS, "tcp/2379": "open", "tcp/2380": "open"}
    assert found == {"192.0.2.12": expected, "2001:db8::12": expected}


def test_an_agent_is_asked_for_nothing_that_is_for_servers_only():
    assert signs(asked(tables("server"), "s1", "a2")) == {"192.0.2.22": {**MANAGER, **ANY}}


def test_only_families_that_both_have_are_asked():
    assert set(signs(asked(tables(), "a2", "s1"))) == {"192.0.2.11"}


def test_a_row_for_a_group_is_asked_as_closed_by_nodes_outside_it():
    tree = changed("ports:manager:redis:source", "admins")
    assert signs(asked(tables("agent", tree), "a2", "s1"))["192.0.2.11"]["tcp/6379"] == "closed"
    tree = changed("groups:admins", ["192.0.2.16/28"], tree)
    assert signs(asked(tables("agent", tree), "a2", "s1"))["192.0.2.11"]["tcp/6379"] == "open"


def test_a_group_is_judged_by_the_address_that_asks():
    tree = changed("nodes:a2:addresses", ["192.0.2.22", "10.9.0.22"])
    tree = changed("groups:admins", ["10.9.0.0/24"], tree)
    tree = changed("ports:manager:redis:source", "admins", tree)
    found = tables("agent", tree)
    signs_by = {
        source: signs(
            questions_to_peers.questions(
                found,
                own(found, "a2"),
                [own(found, "s1")],
                None,
                questions_to_peers.EVERYTHING,
                0,
                {TARGET: source},
            )
        )[TARGET]["tcp/6379"]
        for source in ("192.0.2.22", "10.9.0.22")
    }
    assert signs_by == {"192.0.2.22": "closed", "10.9.0.22": "open"}


def test_a_row_that_allows_a_node_everything_leaves_nothing_to_be_closed():
    row = {"protocol": "any", "source": "any", "destination": "any"}
    found = asked(tables("agent", changed("ports:cluster:all", row)), "a1", "s1")
    assert {each.expect for each in found} == {questions_to_peers.Expect.OPEN}
    assert {each.question.port for each in found} <= {
        *(2379, 2380, 6443, 5001, 8472, 10250, 9500, 8500, 80, 443),
        *(3000, 9095, 9093, 9090, 6379),
    }


def test_sctp_is_not_asked_by_tcp():
    row = {"protocol": "sctp", "port": 3868, "source": "any", "destination": "any"}
    tree = changed("ports:cluster:diameter", row)
    found = asked(tables("agent", tree), "a1", "s1")
    assert 3868 not in {each.question.port for each in found}
    narrow = Filter(protocol=Protocol.SCTP, ports=PortRange(3868, 3868))
    assert asked(tables("agent", changed("ports:cluster:diameter", row)), "a1", narrow=narrow) == ()


PING = {"protocol": "icmp", "source": "server", "destination": "any"}


def test_icmp_is_asked_by_an_echo_of_the_family_where_a_row_allows_it():
    tree = pillar(ports={"cluster": {"ping": PING}, "manager": {}})
    tree["ports"]["cluster"]["ping6"] = {**PING, "protocol": "ipv6-icmp"}
    tree["ports"]["cluster"]["vrrp"] = {**PING, "protocol": "vrrp"}
    assert signs(asked(tables("server", tree), "s1", "s2")) == {
        "192.0.2.12": {"icmp/0": "open"},
        "2001:db8::12": {"ipv6-icmp/0": "open"},
    }
    only = Filter(protocol=Protocol.ICMP)
    assert list(signs(asked(tables("server", tree), "s1", "s2", narrow=only))) == ["192.0.2.12"]
    only = Filter(ports=PortRange(80, 80))
    assert "icmp/0" not in str(signs(asked(tables("server", tree), "s1", "s2", narrow=only)))


def test_icmp_that_no_row_allows_is_not_asked_as_zones_accept_it_from_everyone():
    tree = pillar(ports={"cluster": {"ping": PING}, "manager": {}})
    assert signs(asked(tables("agent", tree), "a1", "s1")) == {}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (Echo(96, EchoResult.ANSWERED), Status.OK),
        (Echo(96, EchoResult.SILENT), Status.NO_ANSWER),
        (Echo(96, EchoResult.REJECTED, "192.0.2.12"), Status.BLOCKED),
        (Echo(96, EchoResult.UNREACHABLE), Status.HOST_DOWN),
        (Echo(96, EchoResult.NOT_SENT), Status.ERROR),
        (Echo(96, EchoResult.TOO_BIG), Status.ERROR),
    ],
)
def test_the_verdict_on_an_echo(given, status):
    tree = pillar(ports={"cluster": {"ping": PING}, "manager": {}})
    found = tables("server", tree)
    (question,) = (
        each for each in asked(found, "s1", "s2") if each.question.protocol is Protocol.ICMP
    )
    # No packet recorder sees echoes, so none is missing there.
    context = ProbeContext(own(found, "s1"), alive={"s2"}, left=frozenset())
    check = port_check.judge_answer(question, as_answer(given, 4), context)
    assert (check.status, check.protocol, check.port) == (status, "icmp", "")


def test_a_filter_names_a_protocol_without_ports():
    only = Filter(protocol=Protocol.VRRP)
    tree = pillar(ports={"cluster": {"ping": PING, "vrrp": {**PING, "protocol": "vrrp"}}})
    tree["ports"]["manager"] = {}
    named = [row.name for row in parsed(tree).rows if only.wants_row(row)]
    assert named == ["vrrp"]


def test_wireguards_second_port_is_asked_only_where_there_are_ipv6_pods():
    def ports(**options):
        tree = pillar(flannel_backend="wireguard-native", **options)
        tree["ports"]["cluster"]["wg"] = {
            "protocol": "udp",
            "port": [51820, 51821],
            "source": "any",
            "destination": "any",
        }
        found = asked(tables("agent", tree), "a1", "s1")
        return {each.question.port for each in found if each.question.protocol is UDP}

    assert 51821 not in ports()
    assert {51820, 51821} <= ports(pod_cidrs=["10.42.0.0/16", "fd42::/56"])


def test_of_a_long_range_the_ends_are_asked():
    tree = changed("ports:manager:redis:port", "30000-32767")
    found = signs(asked(tables("server", tree), "s1", "s2"))["192.0.2.12"]
    assert {port for port in found if port.startswith("tcp/3") and len(port) == 9} == {
        "tcp/30000",
        "tcp/32767",
    }


@given(st.integers(0, 10**6))
def test_a_port_that_no_row_names_is_asked_of_each_address_as_closed(turn):
    tree = changed("ports:manager:redis:port", "20000-29990")
    found = [
        each
        for each in asked(tables("server", tree), "s1", "s2", turn=turn)
        if each.description == "a port that no row names"
    ]
    assert [each.address for each in found] == ["192.0.2.12", "2001:db8::12"]
    for each in found:
        assert each.expect is questions_to_peers.Expect.CLOSED
        assert each.question.port in range(29991, 30000)


def test_without_the_rows_of_the_other_role_its_nodes_are_not_asked_at_all():
    found = parsed(role="agent")
    assert found.peer_rows is None
    assert asked(found, "a1", "s1") == ()
    assert {each.peer.name for each in asked(found, "a1", "s1", "a2")} == {"a2"}


# -- narrower questions ---------------------------------------------------------------------------


def test_one_port_is_asked_and_no_other():
    narrow = Filter(ports=PortRange(2379, 2379))
    assert signs(asked(tables(), "a1", "s1", narrow=narrow)) == {
        "192.0.2.11": {"tcp/2379": "closed"},
        "2001:db8::11": {"tcp/2379": "closed"},
    }


def test_a_port_that_no_row_names_can_be_asked_for():
    narrow = Filter(protocol=UDP, ports=PortRange(5353, 5353))
    (question,) = asked(tables(), "a2", "s1", narrow=narrow)
    assert question.question == PacketQuestion("192.0.2.11", UDP, 5353)
    assert question.expect is questions_to_peers.Expect.CLOSED


# -- the sample -----------------------------------------------------------------------------------


def nodes(count):
    return [Node(f"n{n:04}", Role.AGENT, (netaddr.IPAddress(n + 1),)) for n in range(count)]


@given(st.integers(1, 40), st.integers(0, 1000), st.integers(1, 10))
def test_every_node_is_asked_by_as_many_as_it_asks(count, turn, size):
    ring = nodes(count)
    asked_by = {node.name: 0 for node in ring}
    for node in ring:
        chosen = questions_to_peers.peers_to_ask(ring, node.name, size, turn)
        names = {peer.name for peer in chosen}
        assert len(names) == len(chosen) == min(size, count - 1)
        assert node.name not in names
        for name in names:
            asked_by[name] += 1
    assert set(asked_by.values()) == {min(size, count - 1)}


# Minutes between the runs of a schedule, and a minute on some day.
INTERVALS = (
    *(1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720),
    *(1440, 2880, 10080),
)
TODAY = 29_700_000


def runs_until_complete(peers, every, first=TODAY, size=8, most=2000):
    """After how many runs each peer was asked; ``None`` if some are not after that many."""
    left = set(range(peers))
    for run in range(most):
        start = questions_to_peers.first_in_ring(first + run * every, peers)
        left.difference_update((start + at) % peers for at in range(size))
        if not left:
            return run + 1
    return None


@pytest.mark.parametrize("every", INTERVALS)
def test_all_peers_are_asked_at_every_interval_in_clusters_of_every_size(every):
    windows = {peers: -(-peers // 8) for peers in range(9, 501)}
    took = {peers: runs_until_complete(peers, every) for peers in windows}
    assert all(took.values())
    assert max(took[peers] / windows[peers] for peers in windows) <= 8


@given(
    st.integers(9, 500), st.sampled_from(INTERVALS), st.integers(0, 2 * TODAY), st.integers(1, 16)
)
def test_all_peers_are_asked_from_every_start_on_and_by_any_number(peers, every, first, size):
    took = runs_until_complete(peers, every, first, size, most=30_000)
    assert took is not None
    assert took <= 25 * -(-peers // size)


@pytest.mark.parametrize(("nodes_of_cluster", "every"), [(17, 10), (33, 2), (41, 5), (19, 1440)])
def test_a_schedule_does_not_ask_the_same_peers_again_and_again(nodes_of_cluster, every):
    peers = nodes_of_cluster - 1
    # What went on by eight peers each minute stayed among the same of them.
    starts = {run * every * 8 % peers for run in range(10_000)}
    assert {(start + at) % peers for start in starts for at in range(8)} < set(range(peers))
    ring = nodes(nodes_of_cluster)
    seen = {
        peer.name
        for run in range(8 * -(-peers // 8))
        for peer in questions_to_peers.peers_to_ask(ring, "n0001", 8, TODAY + run * every)
    }
    assert seen == {node.name for node in ring} - {"n0001"}


def test_the_sample_is_the_same_whenever_it_is_drawn():
    ring = nodes(100)
    assert questions_to_peers.peers_to_ask(ring, "n0007", 8, 3) == questions_to_peers.peers_to_ask(
        ring[::-1], "n0007", 8, 3
    )


def test_all_means_all():
    assert len(questions_to_peers.peers_to_ask(nodes(100), "n0007", None, 3)) == 99


# -- verdicts -------------------------------------------------------------------------------------

TARGET, OWN, ROUTER = "192.0.2.11", "192.0.2.21", "192.0.2.254"


def reject(sender, code=13):
    icmp = IcmpError(4, 3, code, sender)
    return Answer(ProbeResult.REJECTED, f"rejected ({icmp})", OWN, icmp)


CONNECTED = Answer(ProbeResult.OPEN, "connected", OWN)
RST = Answer(ProbeResult.NOTHING_LISTENS, "RST came back: nothing listens", OWN)
SILENT = Answer(ProbeResult.SILENCE, "nothing came back", OWN)
DOWN = Answer(ProbeResult.HOST_DOWN, "it did not answer on the link", OWN, IcmpError(4, 3, 1, OWN))
NO_ROUTE = Answer(ProbeResult.NO_ROUTE, "no route (ENETUNREACH)")
OWN_RULE = Answer(ProbeResult.LOCAL_BLOCK, "a rule of this host did not let it out (EPERM)", OWN)
BROKEN = Answer(ProbeResult.ERROR, "Too many open files (EMFILE)")


def judged(port, answer, protocol=TCP, **sight):
    found = tables()
    (question,) = [
        each
        for each in asked(found, "a1", "s1")
        if each.question == PacketQuestion(TARGET, protocol, port)
    ]
    return port_check.judge_answer(
        question, answer, ProbeContext(own(found, "a1"), **{"alive": {"s1"}, **sight})
    )


@pytest.mark.parametrize(
    ("port", "answer", "status", "by"),
    [
        # 6443 must be open to an agent, 2379 closed
        (6443, CONNECTED, Status.OK, ""),
        (6443, RST, Status.NO_LISTENER, "s1"),
        (6443, reject(TARGET), Status.BLOCKED, "s1"),
        (6443, reject("2001:db8::11"), Status.BLOCKED, "s1"),
        (6443, reject(ROUTER), Status.BLOCKED, ROUTER),
        (6443, SILENT, Status.NO_ANSWER, "s1"),
        (6443, DOWN, Status.HOST_DOWN, "s1"),
        (6443, NO_ROUTE, Status.NO_ROUTE, "a1"),
        (6443, OWN_RULE, Status.LOCAL_BLOCK, "a1"),
        (6443, BROKEN, Status.ERROR, "a1"),
        (2379, CONNECTED, Status.EXPOSED, "s1"),
        (2379, RST, Status.EXPOSED, "s1"),
        (2379, reject(TARGET), Status.OK, ""),
        (2379, reject(ROUTER), Status.OK, ""),
        (2379, SILENT, Status.OK, ""),
        (2379, DOWN, Status.HOST_DOWN, "s1"),
        (2379, OWN_RULE, Status.LOCAL_BLOCK, "a1"),
    ],
)
def test_the_verdict_on_an_answer(port, answer, status, by):
    check = judged(port, answer)
    assert (check.status, check.by) == (status, by)
    assert (check.source, check.to, check.address) == ("a1", "s1", TARGET)
    assert bool(check.hint) == (status not in (Status.OK, Status.ERROR))


def test_silence_of_a_closed_port_proves_nothing_if_the_peer_says_nothing_at_all():
    assert judged(2379, SILENT, alive=set()).status is Status.NO_ANSWER


def test_silence_of_udp_is_never_ok():
    found = tables(tree=changed("flannel_backend", "none"))
    (question,) = [
        each
        for each in asked(found, "a1", "s1")
        if each.question == PacketQuestion(TARGET, UDP, 8472)
    ]
    for alive, status in (({"s1"}, Status.UNPROVEN), (set(), Status.NO_ANSWER)):
        check = port_check.judge_answer(
            question, SILENT, ProbeContext(own(found, "a1"), alive=alive)
        )
        assert check.status is status


def test_silence_of_a_packet_that_never_left_is_blamed_on_this_host():
    question = PacketQuestion(TARGET, TCP, 6443)
    assert judged(6443, SILENT, left={question}).status is Status.NO_ANSWER
    assert judged(6443, SILENT, left=set()).status is Status.LOCAL_BLOCK


def test_a_rejection_of_an_address_that_is_not_ours_in_pillar_names_that_address():
    icmp = IcmpError(4, 3, 13, TARGET)
    check = judged(6443, Answer(ProbeResult.REJECTED, "rejected", "10.9.9.9", icmp))
    assert "asked from 10.9.9.9, which pillar does not list for a1" in check.evidence
    assert "a1 k3sfw.check_routes" in check.hint


def test_what_this_host_redirects_says_nothing_of_the_peer():
    question = PacketQuestion(TARGET, TCP, 6443)
    for answer in (CONNECTED, RST, SILENT):
        check = judged(6443, answer, redirected={question})
        assert (check.status, check.by) == (Status.UNPROVEN, "a1")


def test_a_narrowed_question_that_meets_silence_is_unproven_where_all_of_them_would_tell():
    assert judged(2379, SILENT, alive=set(), all_ports=False).status is Status.UNPROVEN
    check = judged(6443, SILENT, alive=set(), all_ports=False)
    assert check.status is Status.NO_ANSWER
    assert "on no port" not in check.evidence


def test_port_unreachable_of_a_closed_udp_port_proves_nothing():
    narrow = Filter(protocol=UDP, ports=PortRange(5353, 5353))
    found = tables()
    question = asked(found, "a1", "s1", narrow=narrow)[0]
    no_listener = Answer(
        ProbeResult.NOTHING_LISTENS, "nothing listens", OWN, IcmpError(4, 3, 3, TARGET)
    )
    check = port_check.judge_answer(
        question, no_listener, ProbeContext(own(found, "a1"), alive={"s1"})
    )
    assert check.status is Status.UNPROVEN


def test_only_a_rejection_by_firewalld_is_fixed_by_an_apply():
    assert judged(6443, reject(TARGET)).hint == "salt s1 state.apply k3s.firewall"
    assert judged(6443, reject(TARGET, code=3)).hint.startswith("see ")


@pytest.mark.parametrize(
    ("version", "sender", "code", "is_healed"),
    [(4, OWN, 1, False), (4, ROUTER, 1, False), (6, "2001:db8::21", 3, True)],
)
def test_only_a_node_that_may_drop_neighbour_discovery_is_healed_before_it_is_started(
    version, sender, code, is_healed
):
    own = OWN if version == 4 else sender
    question = PacketQuestion(TARGET, TCP, 6443)
    answer = failed(question, 113, own, IcmpError(version, {4: 3, 6: 1}[version], code, sender))
    check = judged(6443, answer)
    assert check.status is Status.HOST_DOWN
    assert ("salt s1 k3sfw.heal" in check.fix) is is_healed
    assert ("neighbour discovery" in check.evidence) is is_healed
    assert "start s1" in check.fix and "salt-key -d s1" in check.fix


def test_a_loop_of_routers_is_blamed_on_the_router():
    answer = failed(PacketQuestion(TARGET, TCP, 6443), 113, OWN, IcmpError(4, 11, 0, ROUTER))
    check = judged(6443, answer)
    assert (check.status, check.by) == (Status.NO_ROUTE, ROUTER)


def test_a_peer_that_answered_anything_itself_is_alive():
    questions = asked(tables(), "a1", "s1")[:3]
    assert port_check.alive(questions, [SILENT, SILENT, SILENT]) == set()
    assert port_check.alive(questions, [SILENT, reject(ROUTER), DOWN]) == set()
    for sign in (CONNECTED, RST, reject(TARGET)):
        assert port_check.alive(questions, [SILENT, sign, SILENT]) == {"s1"}


# -- the overlay ----------------------------------------------------------------------------------

OVERLAY = {TARGET: "10.42.1.0", "192.0.2.12": "10.42.2.0"}


def vxlan(*to, overlay=OVERLAY):
    return [
        each
        for each in asked(tables(), "a1", *to, overlay=overlay)
        if each.description == "Flannel VXLAN"
    ]


IN_OVERLAY = "10.42.9.0"


def inside(answer):
    return replace(answer, source=IN_OVERLAY)


def over(answer, datagram=None, **sight):
    found = tables()
    (question,) = vxlan("s1")
    assert question.via is Via.OVERLAY
    sight = ProbeContext(own(found, "a1"), **{"alive": {"s1"}, **sight})
    checks = overlay_check.judge_overlay(question, answer, datagram, sight)
    return {(check.protocol, check.port): (check.status, check.by) for check in checks}


def test_where_there_is_an_overlay_vxlan_is_asked_through_it_and_in_its_family_only():
    (question,) = vxlan("s1")
    assert question.question.address == "10.42.1.0"
    assert question.address == TARGET


def test_a_peer_that_the_overlay_lacks_is_asked_by_a_plain_datagram():
    (question,) = vxlan("s3")
    assert (question.via, question.question) == (
        Via.NO_OVERLAY,
        PacketQuestion("192.0.2.13", UDP, 8472),
    )
    sight = ProbeContext(own(tables(), "a1"), alive={"s3"})
    assert port_check.judge_answer(question, SILENT, sight).by == "a1"
    assert port_check.judge_answer(question, SILENT, sight).status is Status.NO_ROUTE
    assert port_check.judge_answer(question, reject("192.0.2.13"), sight).by == "s3"


def test_any_answer_through_the_overlay_proves_vxlan_and_a_rejection_blames_the_pods_row():
    ok, blocked = (Status.OK, ""), (Status.BLOCKED, "s1")
    assert over(inside(CONNECTED)) == over(inside(RST)) == {("udp", "8472"): ok, ("any", ""): ok}
    rejected = over(inside(reject("10.42.1.0")))
    assert rejected == {("udp", "8472"): ok, ("any", ""): blocked}


@pytest.mark.parametrize("answer", [RST, CONNECTED, reject(ROUTER), reject("10.42.1.0")])
def test_an_answer_that_did_not_come_through_the_overlay_proves_nothing(answer):
    """As of a gateway, where flannel's route is lost."""
    assert over(answer) == {("udp", "8472"): (Status.NO_ROUTE, "a1")}


def test_a_routers_rejection_is_not_an_answer_of_the_peer():
    assert over(inside(reject(ROUTER))) == {("udp", "8472"): (Status.NO_ROUTE, "a1")}


def test_vxlan_that_never_left_is_blamed_on_this_host():
    assert over(SILENT, SILENT, left=set()) == {("udp", "8472"): (Status.LOCAL_BLOCK, "a1")}


def test_a_second_address_of_a_peer_is_no_gap_in_the_overlay():
    tree = changed("nodes:s1:addresses", ["192.0.2.11", "10.9.0.11"])
    found = tables(tree=tree)
    vxlan = [
        each.address
        for each in asked(found, "a1", "s1", overlay=OVERLAY)
        if each.description == "Flannel VXLAN"
    ]
    assert vxlan == ["192.0.2.11"]


def test_where_nothing_comes_through_the_plain_datagram_says_why():
    assert over(SILENT, reject(TARGET)) == {("udp", "8472"): (Status.BLOCKED, "s1")}
    no_listener = Answer(
        ProbeResult.NOTHING_LISTENS, "nothing listens", OWN, IcmpError(4, 3, 3, TARGET)
    )
    assert over(SILENT, no_listener) == {("udp", "8472"): (Status.NO_LISTENER, "s1")}
    assert over(SILENT, SILENT) == {("udp", "8472"): (Status.NO_ANSWER, "s1")}
    assert over(DOWN, SILENT) == {("udp", "8472"): (Status.NO_ROUTE, "a1")}


def test_silence_of_the_overlay_that_this_node_caused_is_reported_once():
    dropped = Arrival(TARGET, UDP, 8472)
    assert over(SILENT, SILENT, refused={dropped}) == {}
    unproven = over(SILENT, SILENT, refused={dropped}, refused_is_reported=False)
    assert unproven == {("udp", "8472"): (Status.UNPROVEN, "a1")}
    found = tables()
    sight = ProbeContext(own(found, "a1"), alive=set(), refused={dropped})
    (check,) = arrival_check.judge_arrivals(found, sight, questions_to_peers.EVERYTHING)
    assert (check.status, check.source, check.to, check.by) == (
        Status.BLOCKED,
        "s1",
        "a1",
        "a1",
    )


def test_advertisements_of_a_peer_that_this_node_drops_are_blocked_where_a_row_allows_them():
    vrrp = {"protocol": "vrrp", "source": "server", "destination": "any"}
    found = tables("server", pillar(ports={"cluster": {"vrrp": vrrp}, "manager": {}}))
    assert questions_to_peers.watched_protocols(found, own(found, "s1")) == {Protocol.VRRP}
    refused = {
        Arrival("192.0.2.12", Protocol.VRRP, NO_PORT),
        Arrival("192.0.2.21", Protocol.VRRP, NO_PORT),  # an agent, which the row does not allow
        Arrival("192.0.2.12", Protocol.ESP, NO_PORT),  # no row
    }
    sight = ProbeContext(own(found, "s1"), alive=set(), refused=refused)
    (check,) = arrival_check.judge_arrivals(found, sight, questions_to_peers.EVERYTHING)
    assert (check.status, check.source, check.to) == (Status.BLOCKED, "s2", "s1")
    assert (check.protocol, check.port) == ("vrrp", "")


def test_dropping_what_a_peer_may_not_send_is_fine():
    found = tables()
    refused = {
        Arrival("192.0.2.11", TCP, 20001),  # no row
        Arrival("203.0.113.7", TCP, 10250),  # no node
        Arrival("192.0.2.21", TCP, 10250),  # this node itself
    }
    sight = ProbeContext(own(found, "a1"), alive=set(), refused=refused)
    assert arrival_check.judge_arrivals(found, sight, questions_to_peers.EVERYTHING) == ()


# -- the overlay of WireGuard ---------------------------------------------------------------------

WG = {TARGET: "10.42.1.0", "192.0.2.12": "10.42.2.0"}
ROW = {
    "protocol": "udp",
    "port": [51820, 51821],
    "source": "any",
    "destination": "any",
    "description": "Flannel WireGuard",
}


def wireguard_tables(**options):
    tree = pillar(flannel_backend="wireguard-native", **options)
    del tree["ports"]["cluster"]["vxlan"]
    tree["ports"]["cluster"]["wireguard"] = ROW
    return tables("agent", tree)


def wireguard(*to, overlay=WG, **options):
    found = wireguard_tables(**options)
    return [
        each
        for each in asked(found, "a1", *to, overlay=overlay)
        if each.description == "Flannel WireGuard"
    ]


def ways(*to, **options):
    """``[(node address, port of the node, address that is asked, way)]``"""
    return [
        (each.address, each.tunnel or each.question.port, each.question.address, each.via)
        for each in wireguard(*to, **options)
    ]


def test_wireguard_is_asked_through_the_overlay_and_only_where_packets_are_sent():
    # Pods of IPv4 alone: nothing goes between the nodes' IPv6 addresses.
    assert ways("s1") == [(TARGET, 51820, "10.42.1.0", Via.OVERLAY)]
    dual = {**WG, "2001:db8::11": "fd42:0:0:1::"}
    both = {"pod_cidrs": ["10.42.0.0/16", "fd42::/56"], "overlay": dual}
    assert ways("s1", **both) == [
        (TARGET, 51820, "10.42.1.0", Via.OVERLAY),
        ("2001:db8::11", 51821, "fd42:0:0:1::", Via.OVERLAY),
    ]


@pytest.mark.parametrize("overlay", [None, {}, {"192.0.2.12": "10.42.2.0"}])
def test_wireguard_of_a_peer_whose_pods_are_not_known_is_asked_by_a_plain_datagram(overlay):
    assert ways("s1", overlay=overlay) == [
        (TARGET, 51820, TARGET, Via.DIRECT),
        ("2001:db8::11", 51820, "2001:db8::11", Via.DIRECT),
    ]
    question = wireguard("s1", overlay=overlay)[0]
    sight = ProbeContext(own(wireguard_tables(), "a1"), alive={"s1"})
    assert port_check.judge_answer(question, SILENT, sight).status is Status.UNPROVEN


ARRIVED = Arrival(TARGET, UDP, 51820)


def through(answer, datagram=SILENT, **sight):
    found = wireguard_tables()
    (question,) = wireguard("s1")
    sight = ProbeContext(own(found, "a1"), **{"alive": {"s1"}, "arrived": {ARRIVED}, **sight})
    return overlay_check.judge_overlay(question, answer, datagram, sight)


def comes_to(*given, **sight):
    return {
        (check.protocol, check.port): (check.status, check.by) for check in through(*given, **sight)
    }


def test_an_answer_through_wireguard_proves_it_and_a_rejection_blames_the_pods_row():
    ok, blocked = (Status.OK, ""), (Status.BLOCKED, "s1")
    for answer in (CONNECTED, RST):
        assert comes_to(inside(answer)) == {("udp", "51820"): ok, ("any", ""): ok}
    rejected = comes_to(inside(reject("10.42.1.0")))
    assert rejected == {("udp", "51820"): ok, ("any", ""): blocked}
    # Without a recorder, the answer counts as that of VXLAN does.
    assert comes_to(inside(RST), arrived=None) == {("udp", "51820"): ok, ("any", ""): ok}


@pytest.mark.parametrize("answer", [RST, reject("10.42.1.0"), inside(reject(ROUTER))])
def test_an_answer_that_did_not_come_through_wireguard_proves_nothing(answer):
    assert comes_to(answer) == {("udp", "51820"): (Status.NO_ROUTE, "a1")}


def test_an_answer_of_pods_that_another_node_has_by_now_proves_nothing():
    elsewhere = {Arrival("192.0.2.12", UDP, 51820), Arrival(TARGET, TCP, 51820)}
    (check,) = through(inside(RST), arrived=elsewhere)
    assert check.status is Status.UNPROVEN
    assert "no WireGuard packet of s1 arrived" in check.evidence
    assert "salt s1 saltutil.refresh_grains" in check.hint


def test_the_address_that_is_proven_is_the_one_from_which_wireguard_came():
    checks = through(inside(RST), arrived={Arrival("2001:db8::11", UDP, 51820)})
    assert {check.address for check in checks if check.port} == {"2001:db8::11"}


def test_an_old_flow_that_still_passes_does_not_hide_that_a_new_one_is_rejected():
    found = comes_to(inside(RST), reject(TARGET))
    assert found == {("udp", "51820"): (Status.BLOCKED, "s1"), ("any", ""): (Status.OK, "")}


def test_silence_of_wireguard_is_reported_as_that_of_vxlan():
    assert comes_to(SILENT, reject(TARGET)) == {("udp", "51820"): (Status.BLOCKED, "s1")}
    assert comes_to(SILENT, SILENT, left=set()) == {("udp", "51820"): (Status.LOCAL_BLOCK, "a1")}
    assert comes_to(DOWN) == {("udp", "51820"): (Status.NO_ROUTE, "a1")}
    (check,) = through(SILENT)
    assert (check.status, check.by) == (Status.NO_ANSWER, "s1")
    assert "s1 rejects no WireGuard" in check.evidence
    assert "salt s1 saltutil.refresh_grains, if s1 has other pods by now" in check.hint
    # What this node itself refuses is told once.
    assert comes_to(SILENT, refused={Arrival("2001:db8::11", UDP, 51820)}) == {}


def test_an_answer_in_the_overlay_of_wireguard_does_not_prove_the_peer_alive():
    (question,) = wireguard("s1")
    assert port_check.alive([question], [inside(RST)]) == set()
    assert port_check.alive([vxlan("s1")[0]], [inside(RST)]) == {"s1"}


# -- the witness ----------------------------------------------------------------------------------


def test_the_recorders_table_is_one_line_of_typed_parts():
    watched = [(TCP, PortRange(2379, 2380)), (UDP, PortRange(8472, 8472))]
    asked = [PacketQuestion("192.0.2.1", TCP, 80), PacketQuestion("192.0.2.2", TCP, 80)]
    line = command("k3sfw_witness_1", watched, asked)
    assert line.count("\n") == 1
    assert "set watched" in line
    assert "elements = { tcp . 2379-2380, udp . 8472 }" in line
    assert "elements = { tcp . 80 }" in line
    assert "set whole { type inet_proto; }" in line
    line = command("k3sfw_witness_1", watched, asked, [Protocol.VRRP, Protocol.ESP])
    assert "set whole { type inet_proto; elements = { 112, 50 }; }" in line


def test_recorded_packets_are_read_from_the_listing():
    listing = b"""{"nftables": [{"metainfo": {}}, {"table": {"name": "k3sfw_witness_1"}},
      {"set": {"name": "ports", "elem": [{"concat": [6, 80]}]}},
      {"set": {"name": "arrived4", "elem": [
        {"elem": {"val": {"concat": ["192.0.2.1", 6, 80]}, "expires": 59}}]}},
      {"set": {"name": "left6", "elem": [{"concat": ["2001:db8::1", 17, 53]}]}},
      {"set": {"name": "redirected4", "elem": [{"concat": ["192.0.2.2", 6, 443]}]}},
      {"set": {"name": "whole", "elem": [112]}},
      {"set": {"name": "whole_arrived4", "elem": [
        {"elem": {"val": {"concat": ["192.0.2.1", 112]}, "expires": 59}}]}},
      {"set": {"name": "passed4"}}]}"""
    seen = read_recorded(listing)
    vrrp = Arrival("192.0.2.1", Protocol.VRRP, NO_PORT)
    assert seen.arrived == {Arrival("192.0.2.1", TCP, 80), vrrp}
    assert seen.passed == set()
    assert seen.left == {PacketQuestion("2001:db8::1", UDP, 53)}
    assert seen.redirected == {PacketQuestion("192.0.2.2", TCP, 443)}


def test_nodes_of_the_samples_are_what_these_tests_think():
    assert NODES["s1"]["addresses"][0] == TARGET


# -- the overlay on another port ------------------------------------------------------------------


def test_the_overlay_is_asked_at_the_port_that_it_really_has():
    tree = changed("ports:cluster:vxlan:port", 4789)
    found = tables("agent", tree)
    device = OverlayDevice("flannel.42", "vxlan", 42, 4789)
    asked_of = [
        questions_to_peers.questions(
            found,
            own(found, "a1"),
            [own(found, "s1")],
            {TARGET: "10.42.1.0"},
            questions_to_peers.EVERYTHING,
            0,
            here=here,
        )
        for here in (OverlayFacts((device,)), OverlayFacts())
    ]
    tunnels = [{each.tunnel for each in questions} - {0} for questions in asked_of]
    assert tunnels == [{4789}, set()]
