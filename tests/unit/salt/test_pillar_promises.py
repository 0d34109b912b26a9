"""The promises that are shipped hold with the tables that are shipped, and the site's win."""

from __future__ import annotations

import json

import pytest
from salt._logging.impl import shutdown_temp_handler

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.rows import FlannelBackend, PromiseSeverity, Role, Tables
from k3sfw_engine.plan.promises import PromiseValue, judge_promises
from k3sfw_engine.plan.reach import compute_reach
from k3sfw_engine.port_tables.merge_pillar import merge_pillar
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.salt.pillar_master import Master, claims

ALWAYS = {"etcd_is_for_servers", "kubelet_is_for_nodes", "mgmt_reaches_ssh"}
OF_BACKEND = {"vxlan": {"vxlan_is_for_nodes"}, "wireguard-native": {"wireguard_is_for_nodes"}}
ASKING = {"k3sfw_asks_for_peer_ports": True}


@pytest.fixture(autouse=True, scope="module")
def _no_deferred_log():
    """Keep Salt from writing its errors later to a stderr that pytest has closed."""
    shutdown_temp_handler()


@pytest.fixture
def master(tmp_path):
    """A master with two servers and two agents."""
    master = Master(tmp_path)
    for minion, role, last in (("s1", "server", 11), ("s2", "server", 12), ("a1", "agent", 21)):
        master.hear(minion, claims(role, f"192.0.2.{last}", f"2001:db8::{last}"))
    return master


def tree_of(master: Master, site=None, role="server", **grains):
    master.site.write_text(json.dumps({"k3s": site or {}}))
    minion, last = ("s1", 11) if role == "server" else ("a1", 21)
    own = claims(role, f"192.0.2.{last}", f"2001:db8::{last}", **grains)
    return merge_pillar(master.pillar(minion, own))


def whole_tables(master: Master, site=None) -> Tables:
    return parse_tables(tree_of(master, site, **ASKING), minion_id="s1", role="server")


def values(tables: Tables) -> dict[str, str]:
    verdicts = judge_promises(tables, compute_reach(tables))
    return {verdict.promise.name: verdict.value.value for verdict in verdicts}


@pytest.mark.parametrize("backend", [each.value for each in FlannelBackend])
def test_shipped_promises_hold_with_the_shipped_tables_for_every_backend(master, backend):
    tables = whole_tables(master, {"flannel_backend": backend})
    found = values(tables)
    assert set(found) == ALWAYS | OF_BACKEND.get(backend, set())
    assert found.pop("mgmt_reaches_ssh") == "unproven"
    assert set(found.values()) == {"kept"}
    verdicts = judge_promises(tables, compute_reach(tables))
    assert not any(verdict.is_told for verdict in verdicts)


@pytest.mark.parametrize(
    ("row", "promise"),
    [
        ("etcd", "etcd_is_for_servers"),
        ("kubelet", "kubelet_is_for_nodes"),
        ("flannel_vxlan", "vxlan_is_for_nodes"),
    ],
)
def test_a_row_that_is_opened_to_clients_breaks_its_promise_and_no_other(master, row, promise):
    found = values(whole_tables(master, {"ports": {"cluster": {row: {"source": "clients"}}}}))
    assert {name for name, value in found.items() if value == "broken"} == {promise}


def test_etcd_that_is_opened_to_agents_breaks_its_promise(master):
    found = values(whole_tables(master, {"ports": {"cluster": {"etcd": {"source": "any"}}}}))
    assert found["etcd_is_for_servers"] == "broken"


def test_ssh_of_mgmt_is_kept_by_a_row_and_never_broken_without_one(master):
    groups = {"mgmt": ["198.51.100.0/24"]}
    assert values(whole_tables(master, {"groups": groups}))["mgmt_reaches_ssh"] == "unproven"
    row = {"protocol": "tcp", "port": 22, "source": "mgmt", "description": "ssh"}
    site = {"groups": groups, "ports": {"manager": {"ssh": row}}}
    assert values(whole_tables(master, site))["mgmt_reaches_ssh"] == "kept"


def test_a_site_switches_a_shipped_promise_off_or_changes_one_column(master):
    site = {
        "groups": {"monitoring": ["198.51.100.0/28"]},
        "ports": {"cluster": {"kubelet": {"source": ["any", "monitoring"]}}},
        "tests": {
            "kubelet_is_for_nodes": {"except": ["any", "pods", "services", "monitoring"]},
            "vxlan_is_for_nodes": {"enabled": False},
        },
    }
    found = values(whole_tables(master, site))
    assert "vxlan_is_for_nodes" not in found
    assert found["kubelet_is_for_nodes"] == PromiseValue.KEPT.value


@pytest.mark.parametrize("role", ["server", "agent"])
def test_every_node_has_every_promise_and_one_about_the_other_role_is_unproven(master, role):
    denied = {"from": "anyone", "except": ["pods", "services"], "deny": "tcp/1"}
    tests = {"servers": {**denied, "to": "server"}, "agents": {**denied, "to": "agent"}}
    for grains in ({}, ASKING):
        tree = tree_of(master, {"tests": tests}, role, **grains)
        assert {*tests, *ALWAYS} <= set(tree["tests"])
    tree = tree_of(master, {"tests": tests}, role)
    tables = parse_tables(tree, minion_id=role[0] + "1", role=role)
    verdicts = judge_promises(tables, compute_reach(tables, (Role(role),)))
    found = {each.promise.name: each.value.value for each in verdicts}
    assert (found["servers"], found["agents"]) == (
        ("kept", "unproven") if role == "server" else ("unproven", "kept")
    )


@pytest.mark.parametrize("role", ["server", "agent"])
def test_another_pillar_file_changes_one_column_of_a_promise_about_the_other_role(master, role):
    master.site.with_name("more.sls").write_text(
        json.dumps({"k3s": {"tests": {"etcd_is_for_servers": {"severity": "warn"}}}})
    )
    top = {
        "base": {"*": ["k3s.more"], "k3s_role:*": [{"match": "grain"}, "k3s.nodes", "k3s.ports"]}
    }
    master.site.parents[1].joinpath("top.sls").write_text(json.dumps(top))
    tables = parse_tables(tree_of(master, role=role), minion_id=role[0] + "1", role=role)
    (etcd,) = (each for each in tables.promises if each.name == "etcd_is_for_servers")
    assert etcd.severity is PromiseSeverity.WARN


@pytest.mark.parametrize("tests", [None, [], "word", {"etcd_is_for_servers": None}, {"x": 5}])
def test_tests_that_are_not_maps_are_left_to_the_engine(master, tests):
    for role, minion in (("server", "s1"), ("agent", "a1")):
        tree = tree_of(master, {"tests": tests}, role)
        with pytest.raises(BadTables) as refused:
            parse_tables(tree, minion_id=minion, role=role)
        assert {fault.path.split(":")[1] for fault in refused.value.faults} == {"tests"}


def test_promises_take_little_of_a_pillar(master):
    tree = tree_of(master, role="agent")
    assert len(json.dumps(tree["tests"])) < 1500
