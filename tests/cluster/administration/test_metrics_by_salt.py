"""Metrics by Salt: switched on in pillar, written by the schedule, gone with it."""

import os
import re

import pytest

from lab.wait import wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

NODE = "a1"
FOLDER = "/var/lib/prometheus/node-exporter"
FILE = f"{FOLDER}/k3sfw.prom"
ON = {"k3s": {"metrics": {"enabled": True}}}
OFTEN = {"interval": 86400, "splay": 0, "heal": 86400, "check": 2}


@pytest.fixture
def node(applied):
    host = applied.host(NODE)
    host.run(["mkdir", "-p", FOLDER])
    try:
        yield host
    finally:
        applied.salt(NODE, "k3sfw.metrics", remove=True)
        assert not host.path(FILE).exists()


def value(host, series):
    """The value of one series in the file."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", host.path(FILE).read_text(), re.MULTILINE)
    assert found, series
    return float(found[1])


def last(host, check, what="run"):
    return value(host, f'k3sfw_check_last_{what}_timestamp_seconds{{check="{check}"}}')


def results(returned):
    return {key.split("_|-")[1]: state["result"] for key, state in returned[NODE].items()}


def test_pillar_switches_the_metrics_on_and_off(applied, node):
    with applied.site(ON):
        foreseen = applied.salt(NODE, "state.apply", "k3s.metrics", test=True)
        assert results(foreseen)["k3s_metrics"] is None
        assert not node.path(FILE).exists()
        first = applied.salt(NODE, "state.apply", "k3s.metrics")
        assert results(first)["k3s_metrics"] is True
        (changes,) = [each["changes"] for each in first[NODE].values() if each["changes"]]
        assert changes == {FILE: "written"}
        again = applied.salt(NODE, "state.apply", "k3s.metrics")
        assert [each["changes"] for each in again[NODE].values()] == [{}, {}]
    off = applied.salt(NODE, "state.apply", "k3s.metrics")
    assert results(off)["k3s_metrics"] is True
    assert not node.path(FILE).exists()


def test_each_check_is_in_the_file_and_a_part_of_one_is_not(applied, node):
    with applied.site(ON):
        applied.salt(NODE, "state.apply", "k3s.metrics")
        answer, _code = applied.salt_call(NODE, "k3sfw.check")
        for check in ("ports", "routes", "zones"):
            assert last(node, check) == last(node, check, "success") >= answer["at"]
        assert value(node, "k3sfw_peers") == value(node, "k3sfw_peers_asked") == 2
        assert value(node, "k3sfw_oldest_proof_timestamp_seconds") >= answer["at"]
        assert value(node, 'k3sfw_tests{result="broken"}') == 0
        assert value(node, 'k3sfw_tests{result="kept"}') > 0
        info = f'cluster="default",digest="{answer["tables"]}"'
        assert value(node, f"k3sfw_tables_info{{{info}}}") == 1
        before = node.path(FILE).read_text()
        applied.salt_call(NODE, "k3sfw.check_ports", port=6443)
        assert node.path(FILE).read_text() == before
        applied.salt_call(NODE, "k3sfw.check_zones")
        assert last(node, "zones") > last(node, "ports")


def test_a_change_is_in_the_file_at_once_and_so_is_what_a_watchdog_undid(applied, node):
    until = "k3sfw_unconfirmed_until_timestamp_seconds"
    row = {"protocol": "tcp", "port": 7007, "source": "any", "destination": "any"}
    more = {"k3s": {**ON["k3s"], "ports": {"cluster": {"more": row}}}}
    with applied.site(ON):
        applied.salt(NODE, "state.apply", "k3s.metrics")
        with applied.site(more):
            changed, _code = applied.salt_call(NODE, "k3sfw.apply", confirm="manual", within=10)
            assert changed["result"] is True
            assert value(node, until) > 0
        wait_until(
            lambda: (
                applied.salt_call(NODE, "k3sfw.history", limit=1)[0][0]["outcome"]
                == "undone by the watchdog"
            ),
            "the change is not undone",
            timeout=60,
        )
        # The watchdog is a program of its own; the schedule's heal notices within two minutes.
        applied.salt_call(NODE, "k3sfw.heal")
        assert value(node, until) == 0
        assert value(node, 'k3sfw_last_change_timestamp_seconds{outcome="undone"}') > 0


def test_a_check_that_fails_by_bad_tables_is_in_the_file(applied, node):
    with applied.site(ON):
        applied.salt(NODE, "state.apply", "k3s.metrics")
        applied.salt_call(NODE, "k3sfw.check")
        before = {check: last(node, check) for check in ("ports", "routes", "zones")}
    with applied.site({"k3s": {"flannel_backend": "none of these"}}):
        answer, code = applied.salt_call(NODE, "k3sfw.check")
        assert (answer["status"], code) == ("UNKNOWN", 4)
    for check, at in before.items():
        assert last(node, check) > at
        assert last(node, check, "success") == at


def test_wrong_settings_are_refused_with_their_path(applied, node):
    with applied.site({"k3s": {"metrics": {"enabled": True, "path": "here"}}}):
        returned = applied.salt(NODE, "state.apply", "k3s.metrics")
        assert results(returned)["k3s_metrics"] is False
        assert "k3s:metrics:path" in str(returned)
    assert not node.path(FILE).exists()


def test_the_schedule_checks_where_metrics_are_written(applied, node):
    with applied.site({"k3s": {**ON["k3s"], "schedule": OFTEN}}):
        for sls in ("k3s.metrics", "k3s.schedule"):
            assert set(results(applied.salt(NODE, "state.apply", sls)).values()) == {True}
        try:
            assert value(node, "k3sfw_check_interval_seconds") == 2
            wait_until(lambda: last(node, "zones") > 0, "no check is scheduled", timeout=60)
            seen = last(node, "ports")
            wait_until(lambda: last(node, "ports") > seen, "there is no second run", timeout=60)
        finally:
            for job in ("k3s_check", "k3s_highstate", "k3s_heal"):
                applied.salt(NODE, "schedule.delete", job)
