"""Whether full-sized packets fit, and what is to blame if they do not."""

from __future__ import annotations

import pytest

from k3sfw_engine.checks.routes.route_check import echo_sizes, judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from tests.unit.checks.routes.node_situations import (
    IPV4,
    SMALL,
    drop,
    host,
    linked,
    network,
    only,
    situation,
)


@pytest.mark.parametrize(
    ("overlay", "link", "bridge", "noted", "fix"),
    [
        (1450, 1500, 1450, 0, ""),
        (1450, 1500, 1450, 1450, ""),
        (1300, 1400, 1300, 1450, ""),
        (1000, 1500, 1450, 0, "flannel.1 mtu 1450"),
        (1000, 1500, 1450, 1450, "flannel.1 mtu 1450"),
        (1450, 1500, 1500, 0, "cni0 mtu 1450"),
        (1450, 1500, 9000, 1450, "cni0 mtu 1450"),
        (1450, 1500, 1300, 0, "cni0 mtu 1450"),
        (1350, 1500, 1350, 0, ""),
        (1450, 9000, 1450, 1450, ""),
    ],
)
def test_of_three_sizes_the_odd_one_out_gets_the_fix(overlay, link, bridge, noted, fix):
    net = linked(
        linked(linked(network(), "flannel.1", mtu=overlay), "eth0", mtu=link), "cni0", mtu=bridge
    )
    at = situation(net, host=host(flannel_mtu=noted), **IPV4)
    found = [c.hint for c in judge_routes(at, {}) if c.status is Status.BAD_MTU]
    assert found == ([f"salt s1 cmd.run 'ip link set {fix}'"] if fix else [])


@pytest.mark.parametrize(
    ("overlay", "link", "noted", "inner"),
    [(1450, 1400, 0, 1350), (1450, 1400, 1450, 1350), (1500, 1500, 0, 1450)],
)
def test_an_overlay_too_large_for_its_link_is_made_smaller_and_the_link_stays(
    overlay, link, noted, inner
):
    net = linked(linked(network(), "flannel.1", mtu=overlay), "eth0", mtu=link)
    at = situation(net, host=host(flannel_mtu=noted), **IPV4)
    (hint,) = [c.hint for c in judge_routes(at, {}) if c.status is Status.BAD_MTU]
    assert hint == (
        "give eth0 the MTU of its network at boot, then restart K3s; until then: salt s1 cmd.run "
        f"'ip link set flannel.1 mtu {inner} && ip link set cni0 mtu {inner}'"
    )


def test_an_overlay_is_never_made_smaller_than_what_every_host_takes():
    net = linked(network(), "eth0", mtu=600)
    (hint,) = [
        c.hint for c in judge_routes(situation(net, **IPV4), {}) if c.status is Status.BAD_MTU
    ]
    assert "ip link" not in hint


def test_the_echo_is_as_large_as_a_full_packet_of_the_overlay():
    assert echo_sizes(situation(**IPV4))["192.0.2.12"] == 1430 + 50
    assert echo_sizes(situation())["2001:db8::12"] == 1430 + 70


def test_without_pods_of_a_family_the_size_of_the_others_packets_is_enough():
    assert echo_sizes(situation(**IPV4))["2001:db8::12"] == 1430 + 50


def test_no_echo_is_sent_where_every_packet_is_dropped():
    assert echo_sizes(situation(host=host(chains=drop("filter_input")))) == {}


@pytest.mark.parametrize(
    ("path", "status", "by", "words"),
    [
        (PathEchoes(Echo(96, EchoResult.SILENT)), "unproven", "s2", "no answer"),
        (
            PathEchoes(Echo(96, EchoResult.UNREACHABLE, "192.0.2.11")),
            "unproven",
            "s2",
            "does not answer ARP",
        ),
        (
            PathEchoes(Echo(96, EchoResult.UNREACHABLE, "192.0.2.1")),
            "no_route",
            "192.0.2.1",
            "the router",
        ),
        (
            PathEchoes(Echo(96, EchoResult.REJECTED, "192.0.2.12")),
            "unproven",
            "s2",
            "rejects echoes",
        ),
        (
            PathEchoes(Echo(96, EchoResult.REJECTED, "192.0.2.1")),
            "unproven",
            "192.0.2.1",
            "the router",
        ),
        (PathEchoes(Echo(96, EchoResult.NOT_SENT)), "local_block", "s1", "refuses to send"),
        (
            PathEchoes(SMALL, Echo(1480, EchoResult.SILENT), 1400),
            "bad_mtu",
            "s2",
            "no answer, 1400 do",
        ),
        (
            PathEchoes(SMALL, Echo(1480, EchoResult.TOO_BIG, "192.0.2.1", 1400)),
            "bad_mtu",
            "192.0.2.1",
            "192.0.2.1 takes at most 1400",
        ),
        (
            PathEchoes(SMALL, Echo(1480, EchoResult.TOO_BIG, "", 1400)),
            "bad_mtu",
            "s1",
            "s1 takes at most 1400",
        ),
        (PathEchoes(SMALL, Echo(1480, EchoResult.TOO_BIG)), "bad_mtu", "s1", "s1 takes fewer"),
    ],
)
def test_an_echo_without_a_reply_is_blamed_on_its_cause(path, status, by, words):
    check = only(situation(), {"192.0.2.12": path})
    assert (check.status.value, check.by, check.to) == (status, by, "s2")
    assert words in check.evidence


def test_without_root_the_sizes_are_not_proven():
    (check,) = (c for c in judge_routes(situation(), None) if c.status is not Status.OK)
    assert (check.status, check.description) == (Status.UNPROVEN, "path MTU")
