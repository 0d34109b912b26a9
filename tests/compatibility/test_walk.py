"""The walk: from nothing to rules and back, by each way of shipping, with real daemons.

``K3SFW_SALT`` is the environment of Salt, by default that of the tests. ``K3SFW_WAY`` is the way,
by default those that differ most from what the tests of the cluster do.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import firewalld_views
from tests.cluster.salt_views import has_redis_rule, not_ours, take_redis_rule
from tests.compatibility import walked_site, ways

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.exhaustive,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

SALT = walked_site.Salt(Path(os.environ.get("K3SFW_SALT") or sys.prefix).resolve())
CHOSEN = os.environ.get("K3SFW_WAY", "masterless gitfs wheel").split()
# The verdicts of a check on a cluster without K3s: nothing is wrong with the firewall.
SOUND = ("OK", "WARN")


@pytest.fixture(scope="module", params=CHOSEN)
def site(request):
    with walked_site.standing(ways.WAYS[request.param], SALT) as site:
        for host in site.nodes:
            # K3s does so when it starts.
            host.run(["sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"])
        # The operator has something of their own, in both layers.
        for option in ((), ("--permanent",)):
            open_port = ["firewall-cmd", "--quiet", *option, "--zone=public", "--add-port=8443/tcp"]
            site.lab.host("s1").run(open_port)
        yield site


@pytest.fixture(scope="module")
def equipped(site):
    """The cluster, and what ``k3s.requirements`` returned twice."""
    return site, [site.states("state.apply", "k3s.requirements") for _ in range(2)]


@pytest.fixture(scope="module")
def applied(equipped):
    """What a dry run, the first apply and the next one returned; what was there before."""
    site = equipped[0]
    before = {host.name: not_ours(host) for host in site.nodes}
    return site, before, site.apply("test=True"), site.apply(), site.apply()


@pytest.fixture(scope="module")
def repaired(applied):
    """What a dry run, an apply and the next one returned after a change by hand."""
    site = applied[0]
    take_redis_rule(site.lab.host("s1"))
    assert not has_redis_rule(site.lab.host("s1"))
    return site, site.apply("test=True"), site.apply(), site.apply()


@pytest.fixture(scope="module")
def checked(repaired):
    """What each check says of each node."""
    site = repaired[0]
    checks = ("check_ports", "check_routes", "check_zones")
    return site, {check: site.call(f"k3sfw.{check}") for check in checks}


@pytest.fixture(scope="module")
def removed(applied, checked):
    """What the removal returned."""
    site, before = applied[:2]
    return site, before, site.states("state.apply", "k3s.remove")


def by_node(site, value):
    return {host.name: value for host in site.nodes}


def results(applied):
    return {node: state["result"] for node, state in applied.items()}


def changes(applied):
    return {node: state["changes"] for node, state in applied.items()}


def test_the_nodes_run_the_salt_of_the_cell(site):
    code = "import salt.version; print(salt.version.__version__)"
    command = [SALT.python, "-c", code]
    version = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    grains = site.call("grains.item", "saltversion")
    assert grains == by_node(site, {"saltversion": version})


def test_a_node_gets_the_packages_that_it_lacks_and_then_lacks_none(equipped):
    site, (first, second) = equipped
    for states in (*first.values(), *second.values()):
        assert [state["result"] for state in states] == [True], states
    installed = {node: bool(states[-1]["changes"]) for node, states in first.items()}
    assert installed == by_node(site, site.salt.wheels is not None and not site.is_equipped)
    assert {node: states[-1]["changes"] for node, states in second.items()} == by_node(site, {})
    roles = site.call("k3sfw.role")
    assert roles == {"s1": "server", "a1": "agent"}


def test_every_node_knows_the_same_nodes(equipped):
    site = equipped[0]
    for nodes in site.call("k3sfw.nodes").values():
        assert {name: (node["role"], node["addresses"]) for name, node in nodes.items()} == {
            "s1": ("server", ["192.0.2.11", "2001:db8::11"]),
            "a1": ("agent", ["192.0.2.21", "2001:db8::21"]),
        }


def test_a_first_apply_does_what_its_dry_run_told(applied):
    site, _before, foretold, first, _again = applied
    assert results(foretold) == by_node(site, None), foretold
    assert results(first) == by_node(site, True), first
    assert changes(first) == changes(foretold)
    assert all(changes(first).values())


def test_a_second_apply_changes_nothing(applied):
    site, *_rest, again = applied
    assert (results(again), changes(again)) == (by_node(site, True), by_node(site, {}))


def test_a_change_by_hand_is_foretold_and_taken_back(repaired):
    site, foretold, applied, again = repaired
    assert (results(foretold)["s1"], results(foretold)["a1"]) == (None, True), foretold
    assert results(applied) == by_node(site, True), applied
    assert changes(applied) == changes(foretold)
    assert changes(applied)["s1"] and changes(applied)["a1"] == {}
    assert has_redis_rule(site.lab.host("s1"))
    assert changes(again) == by_node(site, {})


@pytest.mark.parametrize("check", ["check_ports", "check_zones"])
def test_the_checks_find_nothing_wrong(checked, check):
    site, reports = checked
    assert set(reports[check]) == {host.name for host in site.nodes}
    for report in reports[check].values():
        assert report["status"] in SOUND, report


def test_the_check_of_routes_says_what_the_nodes_lack(checked):
    site, reports = checked
    for node, report in reports["check_routes"].items():
        # K3s does not run there.
        assert "flannel" in str(report["problems"]), (node, report)


def test_the_master_says_what_it_lacks_and_then_sees_the_whole_cluster(checked):
    site, _reports = checked
    if not site.has_master:
        pytest.skip("this way has no master")
    told = site.equip_master()
    assert not told or f"the Python package netaddr is missing in {SALT.python}" in told
    seen = site.run("k3sfw.check")["data"]
    assert seen["coverage"]["silent"] == {}, seen
    failures = [each["text"] for each in seen["causes"] if each["severity"] == "FAIL"]
    # K3s does not run there.
    assert all("flannel" in text for text in failures), failures
    assert site.run("k3sfw.test")["retcode"] == 0


def test_a_removal_leaves_what_others_have_and_nothing_of_ours(removed):
    site, before, returned = removed
    for states in returned.values():
        assert {state["result"] for state in states} == {True}, states
    for host in site.nodes:
        assert not_ours(host) == before[host.name]
        ours = [name for name in firewalld_views.files(host) if "k3s" in name]
        ours += [key for key in firewalld_views.runtime(host) if key[1].startswith("k3s")]
        assert ours == []
        assert "k3s" not in host.run(["nft", "list", "ruleset"]).stdout
        assert not host.path("/var/lib/k3sfw").exists()
