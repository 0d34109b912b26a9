"""Pods reach the host whichever zone their interface or network is bound to."""

import pytest

from tests.selection import exhaustive, half_of

OFFICE = "office"


@pytest.fixture
def with_office(node):
    """Create an active zone of the operator that drops."""
    node.firewall_cmd("--permanent", f"--new-zone={OFFICE}")
    node.firewall_cmd("--permanent", f"--zone={OFFICE}", "--set-target=DROP")
    node.firewall_cmd("--reload")
    node.run("ip", "link", "add", "cni0", "type", "bridge")
    return node


def bind(node, what, *, permanently=True, zone=OFFICE, how="add"):
    for layer in (["--permanent"], []) if permanently else ([],):
        node.firewall_cmd(*layer, f"--zone={zone}", f"--{how}-{what}")


def rules_of_bound_pods(node):
    """What the policy for pods in foreign zones allows, according to the kernel."""
    lines = node.nft("list", "table", "inet", "firewalld").splitlines()
    return [line.strip() for line in lines if "jump filter_IN_policy_k3s-bound-to-host" in line][:1]


@pytest.mark.parametrize(
    ("what", "permanently"), half_of(("interface=cni0", "source=10.42.0.0/16"), (True, False))
)
def test_what_is_bound_before_the_first_apply_stays_bound_and_allows_pods(
    with_office, pillar, what, permanently
):
    node = with_office
    bind(node, what, permanently=permanently)
    before = node.firewall_cmd(f"--zone={OFFICE}", "--list-all")
    answer = node.call("apply", pillar)
    assert len(answer["reloads"]) == 1
    assert f"is bound to zone {OFFICE}, not by k3sfw" in " ".join(answer["notices"])
    assert node.firewall_cmd(f"--zone={OFFICE}", "--list-all") == before
    assert rules_of_bound_pods(node)
    assert node.call("apply", pillar)["changes"] == {}


@pytest.mark.parametrize("what", ["interface=cni0", exhaustive("source=10.42.0.0/16")])
def test_a_later_binding_is_followed_there_and_back_without_a_reload(with_office, pillar, what):
    node = with_office
    node.call("apply", pillar)
    for zone, interface in (("k3s", "cni0"),) if what.startswith("interface") else ():
        # As an operator would who wants it elsewhere.
        node.firewall_cmd(f"--zone={zone}", f"--remove-interface={interface}")
        node.firewall_cmd("--permanent", f"--zone={zone}", f"--remove-interface={interface}")
    bind(node, what)
    foretold = node.call("apply", pillar, test=True)
    answer = node.call("apply", pillar)
    assert (answer["reloads"], answer["changes"]) == ([], foretold["changes"])
    assert rules_of_bound_pods(node)
    assert node.call("apply", pillar)["changes"] == {}
    bind(node, what, how="remove")
    assert node.call("apply", pillar)["reloads"] == []
    assert not rules_of_bound_pods(node)
    assert node.call("apply", pillar)["changes"] == {}


@pytest.mark.parametrize("what", [exhaustive("interface=cni0"), "source=10.42.0.0/16"])
def test_a_permanent_binding_stays_and_pods_arrive_by_our_zone(with_office, pillar, what):
    node = with_office
    node.firewall_cmd("--permanent", f"--zone={OFFICE}", f"--add-{what}")
    before = node.firewall_cmd(f"--zone={OFFICE}", "--list-all")
    node.call("apply", pillar)
    assert node.firewall_cmd(f"--zone={OFFICE}", "--list-all") == before
    assert node.firewall_cmd("--get-zone-of-interface=cni0") == "k3s"
    assert node.call("apply", pillar)["changes"] == {}
    node.firewall_cmd("--reload")
    assert rules_of_bound_pods(node)
    node.call("apply", pillar)
    assert node.call("apply", pillar)["changes"] == {}


def test_an_interface_with_a_wildcard_in_that_zone_is_not_a_lost_rule(with_office, pillar):
    node = with_office
    bind(node, "interface=cni0")
    bind(node, "interface=tun+")
    node.call("apply", pillar)
    assert node.call("apply", pillar)["changes"] == {}


def test_pods_are_still_allowed_after_a_reload_and_a_restart(with_office, pillar):
    node = with_office
    bind(node, "interface=cni0")
    node.call("apply", pillar)
    node.firewall_cmd("--reload")
    assert rules_of_bound_pods(node)
    assert node.call("apply", pillar)["changes"] == {}
    node.host.restart_firewalld()
    assert rules_of_bound_pods(node)
    assert node.call("apply", pillar)["changes"] == {}


def test_a_deleted_zone_is_forgotten_by_the_next_apply(with_office, pillar):
    """Otherwise firewalld could not reload any more: policies must name existing zones."""
    node = with_office
    bind(node, "interface=cni0")
    node.call("apply", pillar)
    node.firewall_cmd("--permanent", f"--delete-zone={OFFICE}")
    node.call("apply", pillar)
    assert node.firewall_cmd("--reload") == "success"
    node.call("apply", pillar)
    assert node.firewall_cmd("--get-zone-of-interface=cni0") == "k3s"
