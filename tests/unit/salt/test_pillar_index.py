"""A pillar asks about its own cluster only, and misses no node that a look at all would find."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest
from salt._logging.impl import shutdown_temp_handler

from tests.paths import ROOT
from tests.unit.salt.pillar_master import Master, claims

# Between two looks at all minions there are at most so many seconds.
A_LOOK = 600


@pytest.fixture(autouse=True, scope="module")
def _no_deferred_log():
    """Keep Salt from writing its warnings later to a stderr that pytest has closed."""
    shutdown_temp_handler()


@pytest.fixture(params=["localfs", "redis"])
def settings(request):
    """The settings of a master for each driver of its cache."""
    if request.param == "localfs":
        yield {}
        return
    pytest.importorskip("redis", reason="Salt keeps its cache in redis with this client")
    from tests.unit.salt import redis_server

    with redis_server.running() as client:
        yield redis_server.options(client)


@pytest.fixture
def master(settings, tmp_path):
    return Master(tmp_path, **settings)


def server(last, cluster="default"):
    return claims("server", f"192.0.2.{last}", k3s_cluster=cluster)


def three(master, cluster="default"):
    """A cluster of three, each of which got its pillar."""
    names = [f"{cluster}-{number}" for number in (1, 2, 3)]
    for number, name in enumerate(names):
        master.join(name, server(10 + number, cluster))
    return names


def known(master, minion, grains=None):
    """The other nodes in the pillar of a minion, and those about which it has doubts."""
    tree = master.tree(minion, grains or server(10, minion.partition("-")[0]))
    return sorted(set(tree["nodes"]) - {minion}), tree.get("unheard_minions", [])


# -- a node joins, moves and leaves ---------------------------------------------------------------


def test_the_first_refresh_after_a_join_has_the_new_node_without_a_look_at_all(master):
    one, two, three_ = three(master)
    looked = master.cache.fetch("k3sfw", "memory")["looked"]
    master.let_pass(A_LOOK / 2)
    assert master.join("default-4", server(14)) is not None
    assert master.cache.fetch("k3sfw", "memory")["looked"] >= looked  # the new node's own
    master.let_pass(A_LOOK / 2)
    before = master.cache.fetch("k3sfw", "memory")
    assert known(master, one) == ([two, three_, "default-4"], [])
    assert master.cache.fetch("k3sfw", "memory") == before


def test_a_new_node_knows_all_others_at_once_and_they_doubt_until_its_grains_are_cached(master):
    names = three(master)
    master.accept("default-4")
    assert known(master, "default-4", server(14)) == (names, [])
    assert known(master, names[0]) == (names[1:], ["default-4"])
    master.hear("default-4", server(14), age=0)
    assert known(master, names[0]) == ([*names[1:], "default-4"], [])


def test_a_node_that_moves_is_in_its_new_cluster_and_not_in_the_old_one(master):
    names, others = three(master), three(master, "east")
    master.join(names[2], server(12, "east"))
    assert known(master, names[0]) == ([names[1]], [])
    assert known(master, others[0]) == ([names[2], *others[1:]], [])
    # Nor is it when its grains are cleared.
    master.cache.flush(*entry_of(names[2]))
    assert known(master, names[0]) == ([names[1]], [])
    assert known(master, others[0]) == (others[1:], [names[2]])
    master.join(names[2], server(12))
    assert known(master, names[0]) == (names[1:], [])
    assert known(master, others[0]) == (others[1:], [])


def test_a_node_that_moves_is_in_its_new_cluster_though_another_looks_before_its_grains_come(
    tmp_path,
):
    master = Master(tmp_path)
    names, others = three(master), three(master, "east")
    assert master.nodes(names[2], server(12, "east"))
    master.join("west-1", server(19, "west"))
    assert known(master, names[0]) == (names[1:], [])
    master.hear(names[2], server(12, "east"), age=0)
    assert known(master, others[0]) == ([names[2], *others[1:]], [])
    assert known(master, names[0]) == ([names[1]], [])


def entry_of(minion):
    from salt.version import __version_info__

    return ("grains", minion) if __version_info__ >= (3008,) else (f"minions/{minion}", "data")


def lists(master):
    """The minions in each list of a cluster."""
    found = (master.cached / "k3sfw/clusters").glob("*/*")
    return Counter(path.name for path in found)


def test_no_list_is_left_of_clusters_that_a_minion_only_claimed_for_a_while(tmp_path):
    master = Master(tmp_path)
    three(master)
    for number in range(6):
        master.join("x", server(99, f"../../{number}/ü"))
    master.let_pass(A_LOOK)
    known(master, "default-1")
    assert lists(master) == dict.fromkeys(
        [*(f"default-{number}.node.p" for number in (1, 2, 3)), "x.node.p"], 1
    )
    assert len(list((master.cached / "k3sfw/claims").iterdir())) == 1
    assert {path.name for path in master.cached.iterdir()} & {"20", "19", "etc"} == set()


def test_a_deleted_key_drops_the_node_at_once_and_its_entries_with_the_next_look(tmp_path):
    master = Master(tmp_path)
    names = three(master)
    (master.keys / names[2]).unlink()
    assert known(master, names[0]) == ([names[1]], [])
    master.forget_grains(names[2])
    assert known(master, names[0]) == ([names[1]], [])
    master.let_pass(A_LOOK)
    assert known(master, names[0]) == ([names[1]], [])
    assert sorted(lists(master)) == [f"{name}.node.p" for name in names[:2]]
    assert names[2] not in master.cache.fetch("k3sfw", "minions")["minions"]


def test_a_node_whose_key_is_rejected_for_a_while_is_back_with_its_key(tmp_path):
    master = Master(tmp_path)
    names = three(master)
    rejected = master.keys.with_name("minions_rejected")
    rejected.mkdir()
    for source, target in ((master.keys, rejected), (rejected, master.keys)):
        (source / names[2]).rename(target / names[2])
        master.let_pass(A_LOOK)
        there = [names[2]] if target is master.keys else []
        assert known(master, names[0]) == ([names[1], *there], [])


@pytest.mark.parametrize("name", ["app", "web.p", "a.node", "pop..p"])
def test_every_name_of_a_minion_can_be_in_a_list(name, tmp_path):
    master = Master(tmp_path)
    one, *_others = three(master)
    master.join(name, server(14))
    assert name in known(master, one)[0]


# -- what no pillar has told ----------------------------------------------------------------------


def test_grains_that_came_without_a_pillar_are_found_with_the_next_look(master):
    one, two, three_ = three(master)
    master.hear("late", server(14))
    assert known(master, one) == ([two, three_], [])
    master.let_pass(A_LOOK)
    assert known(master, one) == ([two, three_, "late"], [])
    # All others know it, too, without a look of their own.
    assert known(master, two) == ([one, three_, "late"], [])


def test_a_node_that_is_known_changes_at_once_also_without_a_pillar_of_its_own(master):
    names = three(master)
    master.hear(names[1], {"os": "Debian"}, age=0)
    assert known(master, names[0]) == ([names[2]], [])
    master.cache.flush(*entry_of(names[2]))
    assert known(master, names[0]) == ([], [names[2]])


@pytest.mark.parametrize("lost", ["clusters", "claims", "memory", "minions", "clusters claims"])
def test_whatever_is_lost_no_cluster_looks_smaller(lost, master):
    names = three(master)
    for part in lost.split():
        if part in ("memory", "minions"):
            master.cache.flush("k3sfw", part)
        elif master.opts["cache"] != "localfs":
            for bank in list_banks(master, f"k3sfw/{part}"):
                master.cache.flush(bank)
        else:
            shutil.rmtree(master.cached / "k3sfw" / part)
    for name in names:
        assert known(master, name) == ([each for each in names if each != name], [])


def list_banks(master, bank):
    """The bank, and what is in it."""
    return [bank, *(f"{bank}/{each}" for each in master.cache.list(bank))]


def test_the_memory_of_layout_3_is_taken_over(tmp_path):
    master = Master(tmp_path)
    for number, name in enumerate(["a", "b", "cleared", "dead"]):
        master.hear(name, server(10 + number))
    stamps = {name: int(os.path.getmtime(master.entry(name))) for name in ("a", "b", "cleared")}
    master.forget_grains("cleared", "dead")
    master.accept("silent", "stranger")
    claim = {"cluster": "default", "role": "server", "addresses": ["192.0.2.10"]}
    week = 7 * 24 * 60 * 60
    before = {
        "layout": 3,
        "claims": {name: [stamp, claim] for name, stamp in stamps.items()},
        "doubted": {"silent": int(time.time()) - week + 100},
    }
    master.cache.store("k3sfw", "nodes", before)
    # Neither a minion that is not in doubt, nor one that was never known, casts doubt now.
    assert known(master, "a", server(10)) == (["b"], ["cleared", "silent"])
    assert known(master, "b", server(11)) == (["a"], ["cleared", "silent"])
    master.age_doubts(1)
    assert known(master, "b", server(11)) == (["a"], ["cleared"])


# -- what a pillar costs --------------------------------------------------------------------------


# Who asks the file system about keys and grains; Salt's loaders do as well, about modules.
ASKING = ("/nodes.sls", "/cache/localfs.py", "/cache/localfs_key.py", "/utils/minions.py")


def questions(action):
    """How often the file system is asked in each way about keys and cached grains."""
    counted = Counter()

    def count(frame, event, function):
        if event != "c_call" or function.__module__ not in ("posix", "io", "_io"):
            return
        # Functions such as os.path.isfile stand between.
        if any(each.f_code.co_filename.endswith(ASKING) for each in (frame, frame.f_back) if each):
            counted[function.__name__] += 1

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return counted


def test_a_pillar_costs_the_same_however_many_other_clusters_there_are(tmp_path):
    master = Master(tmp_path)
    counted = []
    for others in (1, 60):
        for number in range(others):
            master.hear(f"other-{others}-{number}", server(99, f"other-{number // 3}"))
        names = three(master)
        master.pillar(names[0], server(10))
        counted.append(questions(lambda: master.pillar("default-1", server(10))))
    assert counted[0] == counted[1] and counted[0]["stat"] > 4


def test_in_redis_a_pillar_costs_the_same_however_many_other_clusters_there_are(tmp_path):
    pytest.importorskip("redis", reason="Salt keeps its cache in redis with this client")
    from tests.unit.salt import redis_server

    with redis_server.running() as client:
        master = Master(tmp_path, **redis_server.options(client))
        counted = []
        for others in (1, 60):
            for number in range(others):
                master.hear(f"other-{others}-{number}", server(99, f"other-{number // 3}"))
            names = three(master)
            time.sleep(2.1)  # As long as an entry is young, it is read each time.
            master.pillar(names[0], server(10))
            before = redis_server.commands(client)
            master.pillar(names[0], server(10))
            counted.append(redis_server.commands(client) - before)
    assert counted[0] == counted[1]


# -- several at a time ----------------------------------------------------------------------------


def test_of_nodes_that_join_at_the_same_time_none_is_lost(master):
    names = three(master)
    fork = multiprocessing.get_context("fork")
    joining = [f"new-{number}" for number in range(5)]
    together = fork.Barrier(len(joining))

    def join(number, name):
        together.wait()
        master.join(name, server(20 + number))

    started = [fork.Process(target=join, args=each) for each in enumerate(joining)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * len(joining)
    everyone = sorted([*names, *joining])
    for name in everyone:
        others = [each for each in everyone if each != name]
        assert known(master, name, server(10)) == (others, [])


def test_masters_that_share_a_cache_and_not_their_keys_forget_nothing_of_each_other(tmp_path):
    (tmp_path / "two/var").mkdir(parents=True)
    (tmp_path / "two/var/cache").symlink_to(tmp_path / "one/var/cache")
    one, two = (Master(tmp_path / name) for name in ("one", "two"))
    names = three(one)
    two.join("default-9", server(19))
    for master, own, others in ((one, names[0], names[1:]), (two, "default-9", [])) * 2:
        assert known(master, own) == (others, [])
        master.let_pass(A_LOOK)
    # With its key on the other master it is there.
    two.accept(names[1])
    assert known(two, "default-9") == ([names[1]], [])


def test_on_a_full_disk_a_pillar_is_right_and_no_node_is_missed_afterwards(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    inside = f"mount -t tmpfs -o size=2m tmpfs '{tmp_path}' && exec '{sys.executable}' -m {FULL}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{inside} '{tmp_path}'"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT / "_utils")])},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {
        "another, on the full disk": ["s1", "s2"],
        "the new node, on the full disk": ["s1", "s2", "s3"],
        "another, once its grains are cached": ["s1", "s2", "s3"],
        "the new node, then": ["s1", "s2", "s3"],
        "a look at all is needed after that": False,
    }


FULL = "tests.unit.salt.full_disk"
