"""The nodes in a minion's pillar are those that the master knows now, never a guess."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time

import pytest
from salt._logging.impl import shutdown_temp_handler

from k3sfw_engine.model.rows import Role
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.salt.pillar_master import Master, claims


@pytest.fixture(autouse=True, scope="module")
def _no_deferred_log():
    """Keep Salt from writing its warnings later to a stderr that pytest has closed."""
    shutdown_temp_handler()


@pytest.fixture
def master(tmp_path):
    return Master(tmp_path)


def entry(role, *addresses):
    claimed = {"role": role, "addresses": list(addresses)}
    return {**claimed, "claimed": claimed}


def test_the_nodes_are_those_of_the_minions_own_cluster(master):
    master.hear("s1", claims("server", "192.0.2.11"))
    master.hear("a1", claims("agent", "192.0.2.21", "2001:db8::21"))
    master.hear("far", claims("agent", "192.0.2.91", k3s_cluster="east"))
    master.hear("desktop", {"os": "Debian"})
    assert master.nodes() == {
        "a1": entry("agent", "192.0.2.21", "2001:db8::21"),
        "s1": entry("server", "192.0.2.11"),
    }
    east = claims("server", "192.0.2.90", k3s_cluster="east")
    master.accept("far-server")
    assert sorted(master.nodes("far-server", east)) == ["far", "far-server"]


def test_a_single_server_without_cached_grains_is_a_complete_cluster(master):
    master.accept("s1")
    pillar = master.tree()
    assert pillar["nodes"] == {"s1": entry("server", "192.0.2.11")}
    assert set(pillar) & {"unheard_minions", "silent_minions", "other_masters"} == set()


def test_current_grains_win_over_cached_ones(master):
    master.hear("s1", claims("agent", "192.0.2.99"))
    assert master.nodes() == {"s1": entry("server", "192.0.2.11")}


def test_a_node_that_joins_changes_or_leaves_is_seen_at_once(master):
    master.accept("s1")
    for address in ("192.0.2.12", "192.0.2.13", "192.0.2.14"):
        master.hear("s2", claims("server", address), age=0)
        assert master.nodes()["s2"]["addresses"] == [address]
    (master.keys / "s2").unlink()
    assert list(master.nodes()) == ["s1"]


def test_a_rejected_minion_is_not_a_node_even_if_its_grains_are_cached(master):
    master.accept("s1")
    master.hear("a1", claims("agent", "192.0.2.21"))
    assert "a1" in master.nodes()
    rejected = master.keys.with_name("minions_rejected")
    rejected.mkdir()
    (master.keys / "a1").rename(rejected / "a1")
    assert list(master.nodes()) == ["s1"]


def unheard(master):
    return master.tree().get("unheard_minions", [])


def test_minions_that_are_silent_when_the_memory_begins_may_be_nodes_for_a_week(master):
    master.accept("s1", "x2", "x1")
    assert unheard(master) == ["x1", "x2"]
    master.age_doubts(6)
    assert unheard(master) == ["x1", "x2"]
    master.age_doubts(2)
    assert unheard(master) == []


def test_a_key_that_is_accepted_later_and_never_heard_leaves_no_doubt(master):
    master.accept("s1")
    master.nodes()
    master.accept("ghost")
    assert unheard(master) == []


def test_a_node_whose_grains_are_cleared_leaves_a_doubt_and_no_other_minion_does(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    master.hear("printer", {"os": "Debian"})
    master.hear("far", claims("agent", "192.0.2.91", k3s_cluster="east"))
    master.nodes()
    master.forget_grains("s2", "printer", "far")
    # The second pillar knows it from what the first one has stored.
    for _pillar in range(2):
        assert list(master.nodes()) == ["s1"]
        assert unheard(master) == ["s2"]
    master.age_doubts(400)
    assert unheard(master) == ["s2"]
    master.hear("s2", claims("server", "192.0.2.12"))
    assert unheard(master) == [] and "s2" in master.nodes()


def test_a_node_that_was_heard_only_just_now_is_remembered(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"), age=0)
    master.nodes()
    master.forget_grains("s2")
    assert unheard(master) == ["s2"]


def test_this_minion_is_remembered_for_the_pillars_of_the_others(master):
    master.accept("s1", "s2")
    master.nodes()
    master.hear("s2", claims("server", "192.0.2.12"))
    other = master.tree("s2", claims("server", "192.0.2.12"))
    assert other["unheard_minions"] == ["s1"]


def test_a_node_whose_key_is_deleted_is_forgotten(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    master.nodes()
    master.forget_grains("s2")
    (master.keys / "s2").unlink()
    assert unheard(master) == []
    master.accept("s2")
    assert unheard(master) == []


def test_a_cache_that_is_lost_as_a_whole_leaves_a_doubt_about_everyone(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    master.nodes()
    shutil.rmtree(master.cached)
    assert unheard(master) == ["s2"]


def test_a_demoted_or_deleted_server_is_no_server_though_dead_keys_are_accepted(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    master.nodes()
    master.accept("ghost")
    master.hear("s2", claims("agent", "192.0.2.12"), age=30)
    tables = parse_tables(master.tree(), minion_id="s1", role="server")
    assert {node.name: node.role for node in tables.nodes}["s2"] is Role.AGENT
    assert tables.unsure == ()


def test_a_node_that_was_not_heard_for_a_month_is_named_with_its_age(master):
    day = 24 * 60 * 60
    master.accept("s1")
    for name, days in (("s9", 40), ("s8", 29), ("s1", 50)):
        master.hear(name, claims("server", f"192.0.2.9{name[1]}"), age=days * day)
    master.hear("desktop", {"os": "Debian"}, age=99 * day)
    for _pillar in range(2):
        assert master.tree()["silent_minions"] == {"s9": 40}
    tables = parse_tables(master.tree(), minion_id="s1", role="server")
    (notice,) = tables.notices
    assert "s9 for 40 days" in notice and "salt-key -d s9" in notice
    # It is the operator who says that a host is gone.
    assert {node.name for node in tables.nodes} == {"s1", "s8", "s9"}


@pytest.mark.parametrize(
    ("settings", "others"),
    [({}, False), ({"syndic_master": "top"}, True), ({"order_masters": True}, True)],
)
def test_masters_above_each_other_say_that_there_may_be_other_nodes(settings, others, tmp_path):
    master = Master(tmp_path, **settings)
    master.accept("s1")
    tables = parse_tables(master.tree(), minion_id="s1", role="server")
    assert any("expected_nodes" in notice for notice in tables.notices) is others
    master.site.write_text(json.dumps({"k3s": {"firewall": {"expected_nodes": 1}}}))
    assert parse_tables(master.tree(), minion_id="s1", role="server").notices == ()


def test_a_pillar_uses_what_the_one_before_it_read(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    first = master.nodes()
    times = master.entry("s2").stat()
    master.hear("s2", claims("server", "192.0.2.99"))
    os.utime(master.entry("s2"), ns=(times.st_atime_ns, times.st_mtime_ns))
    assert master.nodes() == first
    os.utime(master.entry("s2"), (time.time() - 30, time.time() - 30))
    assert master.nodes()["s2"]["addresses"] == ["192.0.2.99"]


def test_only_the_masters_user_can_read_what_pillars_share(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    master.nodes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in master.shared} == {0o600}


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa6layout\x63"])
def test_a_broken_shared_entry_is_written_again(content, master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    expected = master.nodes()
    written = master.shared
    # What is in an entry of a list is of no account.
    for path in [path for path in written if path.suffixes != [".node", ".p"]]:
        path.write_bytes(content)
    assert master.nodes() == expected
    assert set(master.shared) == set(written) and content not in master.shared.values()


def test_a_shared_list_that_cannot_be_stored_fails_no_pillar(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    (master.cached / "k3sfw").write_text("no folder")
    assert sorted(master.nodes()) == ["s1", "s2"]


def test_a_broken_cache_entry_costs_one_minion_and_not_the_others(master):
    master.accept("s1")
    master.hear("s2", claims("server", "192.0.2.12"))
    master.hear("s3", claims("server", "192.0.2.13"))
    master.entry("s3").write_bytes(b"\xc1")
    pillar = master.tree()
    assert sorted(pillar["nodes"]) == ["s1", "s2"]
    assert pillar["unheard_minions"] == ["s3"]


def deep(levels):
    value = "x"
    for _level in range(levels):
        value = [value]
    return value


def test_an_invalid_claim_is_passed_on_but_its_size_and_depth_are_limited(master):
    master.accept("s1")
    master.hear("x1", {"k3s_role": ["king"], "k3s_node_ips": {"a": 1}})
    master.hear("x3", {"k3s_role": "agent", "k3s_node_ips": deep(400)})
    master.hear("x2", claims("agent", *["192.0.2.22"] * 100_000))
    nodes = master.nodes()
    claimed = {"role": ["king"], "addresses": "neither text nor a list of texts, but dict"}
    assert nodes["x1"] == {**claimed, "claimed": claimed}
    assert nodes["x3"]["addresses"] == "neither text nor a list of texts, but list"
    assert len(json.dumps(nodes["x2"])) < 1000
    assert isinstance(nodes["x2"]["addresses"], str)


def test_a_pin_wins_and_the_claim_is_kept_beside_it(master):
    master.accept("s1")
    master.hear("a1", claims("server", "192.0.2.66"))
    pins = {
        "a1": {"role": "agent", "addresses": ["192.0.2.21"]},
        "a2": {"role": "agent", "addresses": ["192.0.2.22"]},
    }
    master.site.write_text(json.dumps({"k3s": {"nodes": pins}}))
    nodes = master.nodes()
    claimed = {"role": "server", "addresses": ["192.0.2.66"]}
    assert nodes["a1"] == {**pins["a1"], "claimed": claimed}
    assert nodes["a2"] == pins["a2"]


def test_a_claim_that_equals_its_pin_is_pinned(master):
    master.accept("s1")
    master.hear("a1", claims("agent", "192.0.2.21"))
    master.site.write_text(json.dumps({"k3s": {"nodes": {"a1": {"addresses": ["192.0.2.21"]}}}}))
    assert master.nodes()["a1"]["claimed"] == {"role": "agent"}


def test_each_claim_stands_in_the_pillar_once(master):
    master.accept("s1")
    master.hear("a1", claims("agent", "192.0.2.121"))
    assert json.dumps(master.pillar("s1", claims("server", "192.0.2.11"))).count("192.0.2.121") == 1


def test_pod_networks_are_included_where_known_and_a_pin_wins(master):
    master.accept("s1")
    master.hear("a1", claims("agent", "192.0.2.21", k3s_pod_cidrs=["10.42.4.0/24"]))
    master.hear("a2", claims("agent", "192.0.2.22", k3s_pod_cidrs=[]))
    nodes = master.nodes()
    assert "pod_cidrs" not in nodes["s1"] and "pod_cidrs" not in nodes["a2"]
    assert nodes["a1"]["pod_cidrs"] == nodes["a1"]["claimed"]["pod_cidrs"] == ["10.42.4.0/24"]
    # The next pillar takes them from the shared list.
    assert master.nodes() == nodes
    master.site.write_text(json.dumps({"k3s": {"nodes": {"a1": {"pod_cidrs": ["10.42.7.0/24"]}}}}))
    pinned = master.nodes()["a1"]
    assert pinned["pod_cidrs"] == ["10.42.7.0/24"]
    assert pinned["claimed"]["pod_cidrs"] == ["10.42.4.0/24"]


def test_a_host_without_an_accepted_key_gets_no_nodes(master):
    master.hear("a1", claims("agent", "192.0.2.21"))
    assert master.nodes("over-ssh") is None


def test_a_master_without_a_grains_cache_gives_no_nodes(master):
    master.hear("a1", claims("agent", "192.0.2.21"))
    master.accept("s1")
    master.opts["minion_data_cache"] = False
    assert master.nodes() is None
