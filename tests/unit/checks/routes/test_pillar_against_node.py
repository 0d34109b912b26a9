"""Pillar that names other networks or another backend than this node has is said, with the line."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest
import yaml

from k3sfw_engine.checks.routes.pillar_against_node import judge_pillar
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.overlay import FlannelConfig, OverlayDevice, OverlayFacts, PodRoute
from tests.unit.checks.routes.node_situations import HOST, situation, tables

OURS = ("10.42.0.0/16", "fd42::/64")
LINE = "write into site.sls on the master: "


def networks(*texts):
    return tuple(map(netaddr.IPNetwork, texts))


def flannel(kind="vxlan", running=OURS, **config):
    return OverlayFacts(
        devices=(),
        config=FlannelConfig(networks(*running), kind, **config),
        running=networks(*running),
        routes=(),
    )


def judged(overlay, host=HOST, **pillar):
    at = replace(situation(host=host, **pillar), overlay=overlay)
    return {check.description: check for check in judge_pillar(at)}


def written(check):
    """The site's pillar after the line of the fix was copied into it."""
    assert check.fix.startswith(LINE)
    return yaml.safe_load(check.fix[len(LINE) :])["k3s"]


def test_networks_and_a_backend_that_agree_are_ok():
    found = judged(flannel())
    assert {name: check.status for name, check in found.items()} == {
        "pod_cidrs": Status.OK,
        "flannel_backend": Status.OK,
    }


def test_a_node_that_shows_nothing_is_not_compared():
    assert judged(OverlayFacts()) == {}
    assert judged(OverlayFacts((), None, (), ())) == {}


def test_what_cannot_be_read_is_said_and_never_a_conflict():
    found = judged(OverlayFacts(unread=(Problem("net-conf.json cannot be read"),)))
    assert [check.status for check in found.values()] == [Status.UNPROVEN]


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (("10.44.0.0/16",), ["10.42.0.0/16"]),
        (("10.42.0.0/16", "fd42::/56"), ["10.42.0.0/16"]),
        (("10.42.0.0/16",), ["10.42.0.0/16", "fd42::/56"]),
        (("fd42::/56",), ["10.42.0.0/16"]),
    ],
)
def test_other_pod_networks_are_a_conflict_and_the_line_ends_it(here, said):
    services = ["10.43.0.0/16", "fd43::/112"]
    check = judged(flannel(running=here), pod_cidrs=said, service_cidrs=services)["pod_cidrs"]
    assert check.status is Status.CONFLICT
    assert all(network in check.evidence for network in (*here, *said))
    pod_cidrs = written(check)["pod_cidrs"]
    assert pod_cidrs == list(here)
    assert tables(pod_cidrs=pod_cidrs, service_cidrs=services).pod_cidrs == networks(*here)


def test_the_networks_of_the_file_count_before_flannel_has_started():
    overlay = OverlayFacts(config=FlannelConfig(networks("10.44.0.0/16"), "vxlan"))
    assert judged(overlay)["pod_cidrs"].status is Status.CONFLICT
    # But which backend is to run is not known by then.
    assert "flannel_backend" not in judged(overlay)


@pytest.mark.parametrize(
    ("overlay", "backend"),
    [
        (flannel("wireguard"), "wireguard-native"),
        (flannel("host-gw"), "host-gw"),
        (flannel("extension", extension="tailscale set --accept-routes"), "tailscale"),
        (OverlayFacts((OverlayDevice("vxlan.calico", "vxlan", 4096, 4789),)), "none"),
        (OverlayFacts((OverlayDevice("cilium_vxlan", "vxlan", 0, 8472),)), "none"),
    ],
)
def test_another_backend_is_a_conflict_and_the_line_ends_it(overlay, backend):
    check = judged(overlay)["flannel_backend"]
    assert check.status is Status.CONFLICT
    assert written(check) == {"flannel_backend": backend}
    assert tables(flannel_backend=backend).flannel_backend.value == backend
    assert judged(overlay, flannel_backend=backend)["flannel_backend"].status is Status.OK


def test_a_tunnel_in_use_counts_more_than_a_file_that_another_may_have_replaced():
    in_use = OverlayFacts(
        (OverlayDevice("flannel.42", "vxlan", 42, 4789),),
        FlannelConfig(networks(*OURS), "host-gw"),
        networks(*OURS),
        (PodRoute(*networks("10.42.2.0/24"), netaddr.IPAddress("10.42.2.0"), "flannel.42"),),
    )
    assert judged(in_use)["flannel_backend"].status is Status.OK


@pytest.mark.parametrize("kind", ["ipip", "udp", "ipsec", "extension", ""])
def test_a_backend_that_k3s_has_no_word_for_is_not_given_one(kind):
    assert "flannel_backend" not in judged(flannel(kind))


def test_a_dns_service_outside_of_the_service_networks_is_a_conflict():
    inside = replace(HOST, cluster_dns=(netaddr.IPAddress("10.43.0.10"),))
    assert judged(OverlayFacts(), inside)["service_cidrs"].status is Status.OK
    outside = replace(HOST, cluster_dns=(netaddr.IPAddress("10.96.0.10"),))
    check = judged(OverlayFacts(), outside)["service_cidrs"]
    assert (check.status, check.address) == (Status.CONFLICT, "10.96.0.10")
