"""The way of a packet, told by explain, is the way that the packet takes."""

from contextlib import contextmanager

import pytest

from tests.functional.hosts import Node, standing
from tests.functional.real_services import connect, greeter

ROW, CLOSED = 6379, 7001
# What firewalld answers with, by its own words.
ANSWERS = {"allowed": "open", "rejected": "EHOSTUNREACH", "dropped": "silence"}


@pytest.fixture(scope="module")
def raised():
    with (
        standing("explain") as lab,
        greeter(lab.host("s1"), ROW),
        greeter(lab.host("s1"), CLOSED),
    ):
        yield lab


@pytest.fixture
def node(raised, pillar):
    host = Node(raised.host("s1"))
    host.call("apply", pillar)
    return host


@pytest.fixture
def asked(raised, node, pillar):
    """What explain says about a packet of the outsider, after its packet was found to agree."""

    def ask(port, sends=True):
        out = raised.host("out")
        answer = node.call("explain", pillar, source=out.ipv4, port=port, protocol="tcp")
        if sends:
            fate = answer["decision"]["fate"]
            assert connect(out, raised.host("s1").ipv4, port) == ANSWERS[fate], answer
        return answer

    return ask


@contextmanager
def policy(node, priority, *options):
    """A policy of an operator for packets from every zone to this host."""
    node.firewall_cmd("--permanent", "--new-policy=mine")
    for option in (
        "--add-ingress-zone=ANY",
        "--add-egress-zone=HOST",
        f"--set-priority={priority}",
        *options,
    ):
        node.firewall_cmd("--permanent", "--policy=mine", option)
    node.firewall_cmd("--reload")
    try:
        yield
    finally:
        node.firewall_cmd("--permanent", "--delete-policy=mine")
        node.firewall_cmd("--reload")


def steps(answer):
    return {step["at"]: step["fate"] for step in answer["walk"]}


def test_a_row_lets_the_packet_in_and_its_rule_is_named(asked):
    answer = asked(ROW)
    assert answer["verdict"] == "open"
    assert answer["decision"]["at"] == "rows"
    assert steps(answer)["kernel"] == "allowed"
    kernel = next(step["why"] for step in answer["walk"] if step["at"] == "kernel")
    assert "filter_IN_policy_k3s-rows_allow: " in kernel and "dport 6379 accept" in kernel


def test_without_a_row_the_zone_of_the_interface_decides(asked, node):
    answer = asked(CLOSED)
    assert answer["verdict"] == "not in the tables"
    assert (answer["decision"]["at"], answer["decision"]["fate"]) == ("zone", "rejected")
    assert "it arrives on eth0; zone public: it is rejected" in answer["decision"]["why"]
    node.firewall_cmd(f"--add-port={CLOSED}/tcp")
    try:
        answer = asked(CLOSED)
        assert answer["decision"]["why"].endswith(
            f"zone public: it is allowed by port {CLOSED}/tcp"
        )
    finally:
        node.firewall_cmd(f"--remove-port={CLOSED}/tcp")
    assert asked(CLOSED)["decision"]["fate"] == "rejected"


@pytest.mark.parametrize(
    ("rule", "fate"),
    [
        ("rule family=ipv4 port port=6379 protocol=tcp drop", "dropped"),
        ('rule family=ipv4 source NOT address="203.0.113.0/24" drop', "dropped"),
    ],
)
def test_a_policy_before_ours_decides_first(asked, node, rule, fate):
    with policy(node, -600, f"--add-rich-rule={rule}"):
        answer = asked(ROW)
        assert (answer["decision"]["at"], answer["decision"]["fate"]) == (
            "policies before ours",
            fate,
        )
        assert "policy mine (priority -600)" in answer["decision"]["why"]
        # What the rows would do is told all the same.
        assert steps(answer)["rows"] == "allowed"
    assert asked(ROW)["decision"]["at"] == "rows"


def test_a_target_of_a_policy_before_ours_decides_about_everything(asked, node):
    with policy(node, -600, "--set-target=REJECT"):
        assert asked(ROW)["decision"]["at"] == "policies before ours"
        assert asked(CLOSED)["decision"]["fate"] == "rejected"


def test_a_policy_after_ours_decides_only_what_no_row_allows(asked, node):
    with policy(node, -100, "--set-target=DROP"):
        assert asked(ROW)["decision"]["at"] == "rows"
        answer = asked(CLOSED)
        assert (answer["decision"]["at"], answer["decision"]["fate"]) == (
            "policies after ours",
            "dropped",
        )


def test_a_policy_after_the_zone_comes_before_its_target(asked, node):
    with policy(node, 100, f"--add-port={CLOSED}/tcp"):
        answer = asked(CLOSED)
        assert answer["decision"]["at"] == "zone"
        assert "policy mine after zone public" in answer["decision"]["why"]


def test_a_rule_about_the_address_of_the_host_decides(asked, node, raised):
    rule = f'rule family=ipv4 destination address="{raised.host("s1").ipv4}/24" drop'
    with policy(node, -1000, f"--add-rich-rule={rule}"):
        answer = asked(ROW)
        assert (answer["decision"]["at"], answer["decision"]["fate"]) == (
            "policies before ours",
            "dropped",
        )


def test_a_rule_that_is_not_in_the_kernel_lets_nothing_in(asked, node):
    for chain, handle in node.rule_handles("tcp dport 6379 accept"):
        node.nft("delete", "rule", "inet", "firewalld", chain, "handle", handle)
    answer = asked(ROW)
    assert answer["verdict"] == "open"
    assert (answer["decision"]["at"], answer["decision"]["fate"]) == ("zone", "rejected")
    kernel = next(step["why"] for step in answer["walk"] if step["at"] == "kernel")
    assert "not in force" in kernel and "Fix: state.apply k3s.firewall" in kernel


def test_a_port_that_nat_redirects_is_told_before_any_rule(asked, node):
    node.run(
        *("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", str(ROW)),
        *("-j", "DNAT", "--to-destination", "10.42.0.9:80"),
    )
    try:
        answer = asked(ROW, sends=False)
        assert (answer["decision"]["at"], answer["decision"]["fate"]) == ("nat", "redirected")
    finally:
        node.run("iptables", "-t", "nat", "-F", "PREROUTING")
    assert asked(ROW)["decision"]["at"] == "rows"


def test_a_packet_from_this_host_is_allowed(node, raised, pillar):
    own = raised.host("s1").ipv4
    answer = node.call("explain", pillar, source=own, port=CLOSED, protocol="tcp")
    assert answer["decision"]["fate"] == "allowed"
    assert connect(raised.host("s1"), own, CLOSED) == "open"


def test_a_firewalld_that_does_not_run_is_told_and_the_rows_still_are(node, raised, pillar):
    node.host.stop_firewalld()
    try:
        out = raised.host("out").ipv4
        answer = node.call("explain", pillar, source=out, port=ROW, protocol="tcp")
    finally:
        node.host.start_firewalld()
    assert answer["verdict"] == "open"
    assert answer["decision"]["fate"] == "not known"
    assert "firewalld" in answer["decision"]["why"]
