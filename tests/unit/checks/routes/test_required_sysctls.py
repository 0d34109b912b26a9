"""A sysctl that forwarding needs is named, with the state or the command that sets it."""

from __future__ import annotations

import pytest

from k3sfw_engine.checks.verdicts import Status
from tests.unit.checks.routes.node_situations import (
    NODES,
    SYSCTLS,
    answering,
    by,
    host,
    network,
    only,
    problems,
    situation,
)


def sysctls(**values):
    return host(sysctls={**SYSCTLS, **values})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
        ("net/bridge/bridge-nf-call-iptables", "net.bridge.bridge-nf-call-iptables"),
        ("net/bridge/bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-ip6tables"),
    ],
)
def test_a_setting_that_is_off_is_set_by_the_state(name, shown):
    check = only(situation(host=sysctls(**{name: "0"})))
    assert (check.status, check.description) == (Status.BAD_SETTING, shown)
    assert (check.fix, check.sls) == ("salt s1 state.apply k3s.routes", "k3s.routes")


def test_a_setting_of_one_interface_is_set_by_its_own_command():
    check = only(situation(host=sysctls(**{"net/ipv4/conf/flannel.1/forwarding": "0"})))
    assert check.hint.endswith(
        "until then: salt s1 cmd.run 'sysctl -w net.ipv4.conf.flannel/1.forwarding=1'"
    )


def test_an_interface_that_listens_to_routers_forwards_ipv6_all_the_same():
    settings = {"net/ipv6/conf/eth0/forwarding": "0"}
    assert problems(situation(host=sysctls(**settings))) == []


def test_ipv6_settings_concern_only_a_cluster_with_ipv6_pods():
    off = sysctls(
        **{"net/ipv6/conf/all/forwarding": "0", "net/bridge/bridge-nf-call-ip6tables": "0"}
    )
    ipv4 = {"pod_cidrs": ["10.42.0.0/16"], "service_cidrs": ["10.43.0.0/16"]}
    assert problems(situation(host=off, **ipv4)) == []


def test_a_setting_that_the_kernel_does_not_have_is_not_missed():
    kept = {name: value for name, value in SYSCTLS.items() if "bridge" not in name}
    assert problems(situation(host=host(sysctls=kept))) == []


def test_strict_reverse_paths_break_only_where_answers_leave_by_another_link():
    strict = sysctls(**{"net/ipv4/conf/all/rp_filter": "1"})
    assert problems(situation(host=strict)) == []
    nodes = {**NODES, "s2": {"role": "server", "addresses": ["198.51.100.12"]}}
    net = answering(network(), **{"198.51.100.12": by("eth1", "192.0.2.11", "203.0.113.1")})
    found = problems(situation(net, host=strict, nodes=nodes))
    assert ("bad_setting", "s1", "net.ipv4.conf.eth0.rp_filter") in found
    loose = sysctls(**{"net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/eth0/rp_filter": "2"})
    found = problems(situation(net, host=loose, nodes=nodes))
    assert ("bad_setting", "s1", "net.ipv4.conf.eth0.rp_filter") not in found
