"""TCP must pass through the overlay, and not only an echo."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3sfw_engine.checks.routes.overlay_packets import tcp_questions
from k3sfw_engine.checks.routes.route_check import echo_sizes, judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.packet_question import ProbeResult
from tests.unit.checks.routes.node_situations import (
    IPV4,
    network,
    only,
    passing,
    problems,
    situation,
    without_neighbours,
)

INSIDE = ("10.42.2.0", "10.42.3.0")


def test_each_peer_of_the_overlay_gets_an_echo_and_then_a_connection():
    at = situation(**IPV4)
    assert {echo_sizes(at)[address] for address in INSIDE} == {96}
    paths = {"10.42.2.0": passing(96), "10.42.3.0": PathEchoes(Echo(96, EchoResult.SILENT))}
    assert [each.address for each in tcp_questions(at, paths)] == ["10.42.2.0"]
    assert tcp_questions(at, None) == ()


def test_a_peer_without_its_entries_is_not_asked():
    at = situation(without_neighbours(network(), "10.42.3.0"), **IPV4)
    assert "10.42.3.0" not in echo_sizes(at)


@pytest.mark.parametrize(
    "result", [ProbeResult.OPEN, ProbeResult.NOTHING_LISTENS, ProbeResult.REJECTED]
)
def test_any_answer_proves_that_tcp_passes(result):
    at = replace(situation(**IPV4), tcp=dict.fromkeys(INSIDE, result))
    assert problems(at) == []
    proven = [c for c in judge_routes(at, {}) if "TCP and echoes pass" in c.evidence]
    assert [(c.to, c.address) for c in proven] == [("a1", "10.42.3.0"), ("s2", "10.42.2.0")]


def test_silence_of_tcp_where_echoes_pass_is_a_failure_with_its_cause():
    check = only(replace(situation(**IPV4), tcp={"10.42.2.0": ProbeResult.SILENCE}))
    assert (check.status, check.to, check.address) == (Status.NO_ANSWER, "s2", "10.42.2.0")
    assert check.hint.startswith("update the driver or hypervisor that computes wrong checksums")
    assert check.hint.endswith(
        "until then: salt s1 cmd.run 'ethtool -K flannel.1 tx-checksum-ip-generic off' && "
        "salt s2 cmd.run 'ethtool -K flannel.1 tx-checksum-ip-generic off'"
    )
