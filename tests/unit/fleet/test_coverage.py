"""How much was asked is always said: pairs, silent nodes, and the oldest proof."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3sfw_engine.fleet.coverage import coverage, coverage_sentence
from tests.simulated_fleet import Fault, simulated_fleet


def said(cluster):
    return coverage_sentence(coverage(cluster))


def test_all_pairs_of_a_small_cluster_are_asked_at_once():
    assert said(simulated_fleet(5)) == "Asked all 20 pairs now; no node silent."


def test_a_large_cluster_tells_how_old_the_oldest_proof_is():
    cluster = simulated_fleet(300)
    found = coverage(cluster)
    assert (found.pairs, found.asked, found.earlier) == (89_700, 2_400, 87_300)
    assert (
        said(cluster) == "Asked 2,400 of 89,700 pairs now, all within 37 minutes; no node silent."
    )


def test_silent_nodes_are_named_and_their_pairs_are_not_counted_as_asked():
    cluster = simulated_fleet(300, [Fault("silent", "a017"), Fault("silent", "s3")])
    assert said(cluster) == (
        "Asked 2,384 of 89,700 pairs now, all of the nodes that answered within 37 minutes; "
        "2 nodes silent: a017, s3."
    )


def test_proofs_that_a_node_of_a_huge_cluster_left_off_count_as_asked():
    cluster = simulated_fleet(700)
    assert {each.proofs_left_off for each in cluster.answers.values()} == {199}
    found = coverage(cluster)
    assert (found.asked, found.earlier, found.never) == (5600, 700 * 699 - 5600, 0)


def test_pairs_that_were_never_asked_are_counted():
    cluster = simulated_fleet(20)
    answers = {
        name: replace(each, proofs=dict.fromkeys(each.asked.peers, each.at))
        for name, each in cluster.answers.items()
    }
    found = coverage(replace(cluster, answers=answers))
    assert (found.asked, found.never) == (160, 220)
    assert coverage_sentence(found) == (
        "Asked 160 of 380 pairs now, 220 never yet; no node silent."
    )


def test_a_cluster_of_one_node_has_no_pairs():
    assert said(simulated_fleet(1, servers=1)) == "There is no pair of nodes to ask."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "1 minute"),
        (119, "2 minutes"),
        (3601, "61 minutes"),
        (7200, "2 hours"),
        (172_800, "2 days"),
    ],
)
def test_the_age_of_the_oldest_proof_is_rounded_up(seconds, text):
    cluster = simulated_fleet(300)
    answers = {
        name: replace(each, proofs=dict.fromkeys(each.proofs, each.at - seconds))
        for name, each in cluster.answers.items()
    }
    assert f"all within {text};" in said(replace(cluster, answers=answers))
