"""A node keeps itself in step: its schedule repairs drift, is silent, and never overlaps."""

import json
import os
from contextlib import contextmanager

import pytest

from lab.k3s import container_runtime
from lab.wait import wait_until
from tests.cluster.salt_views import Callers, Events, MinionLog, has_redis_rule, take_redis_rule
from tests.firewalld_damage import has_drop_table, kill_firewalld_in_a_reload
from tests.traefik_pod import answers, traefik

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

NODE = "a1"
EVERY_TWO_SECONDS = {"k3s": {"schedule": {"interval": 2, "splay": 0}}}
HEALING = {"k3s": {"schedule": {"interval": 86400, "splay": 0, "heal": 2}}}
OFF = {"k3s": {"schedule": {"enabled": False}}}


@pytest.fixture
def node(applied):
    return applied.host(NODE)


@pytest.fixture
def scheduled(applied, node):
    """The node with a highstate every two seconds, after the first one."""
    with every_two_seconds(applied, node):
        wait_for_runs(node, 1)
        yield node


@pytest.fixture
def healing(applied, node):
    """The node with k3sfw.heal every two seconds, and no other job."""
    with applied.site(HEALING):
        applied.salt(NODE, "state.apply", "k3s.schedule")
        try:
            yield node
        finally:
            switch_off(applied)
            applied.salt(NODE, "state.apply", "k3s.schedule")
            wait_until(lambda: not jobs_under_way(node), f"{NODE} goes on running", timeout=60)


@contextmanager
def every_two_seconds(cluster, host, **options):
    """The schedule that pillar and k3s.schedule create; it is removed at the end."""
    with cluster.site(EVERY_TWO_SECONDS):
        returned = cluster.salt(host.name, "state.apply", "k3s.schedule", **options)[host.name]
        assert {state["result"] for state in returned.values()} == {True}
        try:
            yield
        finally:
            switch_off(cluster)
            # The next test must not meet the last run.
            wait_until(
                lambda: not is_scheduled(host) and not jobs_under_way(host),
                f"{host.name} goes on running",
                timeout=60,
            )


def switch_off(cluster):
    (cluster.lab.srv / "pillar/k3s/site.sls").write_text(json.dumps(OFF))


def is_scheduled(host):
    """Whether the minion would still have the job after a restart."""
    return "k3s_highstate" in host.path("/etc/salt/minion.d/_schedule.conf").read_text()


def jobs_under_way(host):
    """The processes of the minion's jobs: the children of the minion, a single process here."""
    minions = [process for process in host.processes() if process.name == "salt-minion"]
    pids = {process.pid for process in minions}
    return {process.pid for process in minions if process.parent in pids}


def wait_for_runs(host, count):
    """Wait until this many more state runs have ended; each leaves its result there."""
    result = host.path("/var/cache/salt/minion/highstate.cache.p")
    for _ in range(count):
        before = result.stat().st_mtime_ns if result.exists() else None
        wait_until(
            lambda last=before: result.exists() and result.stat().st_mtime_ns != last,
            "no scheduled run came to its end",
            timeout=60,
            every=0.05,
        )


def jobs_in_cache(cluster):
    """The jobs in the master's cache."""
    cache = cluster.lab.master.path("/var/cache/salt/master/jobs")
    return {path.parent.name for path in cache.glob("*/*/jid")}


def test_a_rule_removed_by_hand_comes_back_without_an_apply(applied, scheduled):
    with Events(applied.lab.master) as events:
        take_redis_rule(scheduled)
        wait_until(lambda: has_redis_rule(scheduled), "the rule is not back", timeout=60)
        wait_for_runs(scheduled, 1)
        sent = events.new()
    # The only message is what was repaired.
    assert [tag for tag, _data in sent] == ["k3sfw/managed"]
    assert sent[0][1]["id"] == NODE
    assert list(sent[0][1]["data"]["changes"]) == ["runtime"]


def test_a_scheduled_run_without_changes_sends_nothing_to_the_master(applied, scheduled):
    known = jobs_in_cache(applied)
    assert known
    with Events(applied.lab.master) as events:
        wait_for_runs(scheduled, 2)
        assert events.new() == []
    assert jobs_in_cache(applied) == known


def test_a_job_disabled_in_pillar_removes_itself(applied, scheduled):
    assert is_scheduled(scheduled)
    switch_off(applied)
    wait_until(lambda: not is_scheduled(scheduled), "the job is still there", timeout=60)
    assert "k3s_highstate" not in applied.salt(NODE, "schedule.list")[NODE]


@contextmanager
def a_state_run_that_lasts(cluster, host):
    """Start another state run on the host; it lasts until the returned function is called."""
    sls = cluster.lab.srv / "salt/lasting.sls"
    begun, goes_on = host.path("/run/begun"), host.path("/run/goes-on")
    sls.write_text(
        "lasting:\n"
        "  cmd.run:\n"
        "    - name: touch /run/begun; while test -e /run/goes-on; do sleep 0.05; done\n"
    )
    goes_on.touch()
    try:
        call = host.popen(["salt-call", "state.apply", "lasting"], stdout=-3)
        wait_until(begun.exists, "the state run does not begin", timeout=60)
        yield goes_on.unlink
        assert call.wait(60) == 0
    finally:
        goes_on.unlink(missing_ok=True)
        sls.unlink()


def test_a_scheduled_run_yields_to_a_state_run_and_catches_up_later(applied, node):
    log, fired = MinionLog(node), set()
    with a_state_run_that_lasts(applied, node) as end:
        take_redis_rule(node)
        # Of all state runs, only the one that creates the schedule may overlap with the other.
        with every_two_seconds(applied, node, concurrent=True):
            ended = jobs_under_way(node)

            def three_fired():
                fired.update(jobs_under_way(node) - ended)
                return len(fired) >= 3

            wait_until(three_fired, "the schedule does not fire", timeout=60, every=0.02)
            assert not has_redis_rule(node)
            end()
            wait_until(lambda: has_redis_rule(node), "the rule is not back", timeout=60)
    assert "Traceback" not in log.text()
    assert not [line for line in log.text().splitlines() if "[salt." in line and "[ERROR" in line]


def test_five_concurrent_applies_run_one_after_another_and_all_succeed(applied):
    host = applied.host("s1")
    take_redis_rule(host)
    with Callers(host) as callers:
        calls = [
            host.popen(["salt-call", "--out=json", "k3sfw.apply"], stdout=-1, stderr=-3)
            for _ in range(5)
        ]
        outcomes = [json.loads(call.communicate(timeout=120)[0])["local"] for call in calls]
        order = callers.in_order()
    assert [outcome["result"] for outcome in outcomes] == [True] * 5
    # One found the drift and repaired it; those after it found nothing to do.
    assert sorted(bool(outcome["changes"]) for outcome in outcomes) == [False] * 4 + [True]
    # On the bus the calls of each are contiguous, without calls of others in between.
    turns = [name for name, before in zip(order, [None, *order]) if name != before]
    assert len(turns) == len(set(turns)) == 5


@contextmanager
def cut_off(host, master):
    """Block all packets between the host and Salt's master, on existing connections too."""
    # Before firewalld's own, and a table that it does not know.
    rules = "table inet cut { chain out { type filter hook output priority -500; "
    rules += f"ip daddr {master} tcp dport {{ 4505, 4506 }} drop; }}; }};\n"
    host.run(["nft", "-f", "-"], input=rules)
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "cut"])


def test_a_node_whose_reload_died_is_healed_by_its_schedule_without_the_master(applied, healing):
    with Events(applied.lab.master) as events:
        with cut_off(healing, applied.lab.master.ipv4):
            kill_firewalld_in_a_reload(healing)
            healing.start_firewalld()
            wait_until(
                lambda: not has_drop_table(healing),
                "the table that drops everything is still there",
                timeout=30,
            )
        wait_until(
            lambda: applied.salt(NODE, "test.ping").get(NODE) is True,
            f"{NODE} does not come back to its master",
            timeout=90,
        )
        healed = [data for tag, data in events.new() if tag == "k3sfw/healed"]
    assert [each["id"] for each in healed] == [NODE]


@pytest.mark.parametrize("job", ["scheduled", "healing"])
def test_traefik_is_reached_again_after_a_reload_by_an_operator(applied, node, job, request):
    client = applied.host("s1")
    try:
        with traefik(node, container_runtime.network(2)) as pod:
            assert answers(client, node.ipv4)
            node.run(["firewall-cmd", "--reload"])
            assert not answers(client, node.ipv4)
            changes = []

            def is_told():
                told = [data for tag, data in events.new() if tag.startswith("k3sfw/")]
                changes.extend(data["data"]["changes"] for data in told)
                return changes

            with Events(applied.lab.master) as events:
                request.getfixturevalue(job)
                wait_until(lambda: answers(client, node.ipv4), "traefik is lost", timeout=60)
                wait_until(is_told, "the master is not told", timeout=30)
            target = changes[0]["kernel"]["hostPort 80/tcp of pod kube-system/svclb-traefik"]
            assert f"{pod.addresses[0]}:8000" in target["new"]
    finally:
        container_runtime.remove_network(node)
