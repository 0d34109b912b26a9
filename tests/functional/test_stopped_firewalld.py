"""On a host where firewalld is stopped its files are written, planned and removed."""

import pytest
from hypothesis import HealthCheck, given, settings

from k3sfw_engine.transaction import messages
from tests import other_firewalld
from tests.functional.hosts import OUTSIDER, SERVER, Node, standing
from tests.functional.stopped_hosts import NO_MASTER, offline
from tests.selection import exhaustive
from tests.unit.samples import pillars

BROKEN = "<zone><service name='nonesuch'/></zone>"


@pytest.fixture(scope="module")
def shared():
    with standing("stop", (SERVER, OUTSIDER)) as raised:
        yield Node(raised.host("s1"))


@pytest.fixture
def running(shared):
    """Firewalld runs, and k3sfw has nothing there."""
    if "firewalld" not in names(shared):
        shared.host.start_firewalld()
    shared.call("remove")
    return shared


@pytest.fixture
def stopped(running):
    running.host.stop_firewalld()
    return running


def names(node):
    return [process.name for process in node.host.processes()]


def contents(node):
    return {name: content for name, (content, _time, _inode) in node.files().items()}


def test_a_plan_of_a_stopped_firewalld_is_what_is_written_before_its_start(stopped, pillar):
    planned = stopped.call("plan", pillar)
    assert any("firewalld does not run" in notice for notice in planned["notices"])
    assert stopped.call("prepare", pillar, **NO_MASTER)["changes"] == planned["changes"]
    assert stopped.call("plan", pillar)["changes"] == {}


def test_what_was_not_compared_with_the_tables_is_not_said_to_match_them(running, pillar):
    said = running.call("comments", pillar, **NO_MASTER)["comments"]
    assert said == [messages.NOTHING_OF_OURS, messages.NOT_PREPARED]
    running.host.stop_firewalld()
    said = running.call("comments", pillar, **NO_MASTER)["comments"]
    assert said[0] == messages.FILES_REMOVED


def test_what_is_written_is_the_permanent_difference_that_firewalld_would_show(running, pillar):
    with_daemon = running.call("apply", pillar, test=True)["changes"]["permanent"]
    running.host.stop_firewalld()
    assert running.call("prepare", pillar, **NO_MASTER)["changes"] == {"permanent": with_daemon}


@pytest.mark.exhaustive
@settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[*HealthCheck],
)
@given(pillar=pillars())
def test_the_files_are_those_that_an_apply_ends_with(shared, pillar):
    if "firewalld" not in names(shared):
        shared.host.start_firewalld()
    shared.call("remove")
    without = contents(shared)
    shared.call("apply", pillar)
    with_daemon = contents(shared)
    shared.call("remove")
    assert contents(shared) == without
    shared.host.stop_firewalld()
    shared.call("prepare", pillar, **NO_MASTER)
    assert contents(shared) == with_daemon
    shared.host.start_firewalld()
    started = shared.call("apply", pillar)
    assert (started["changes"], started["reloads"]) == ({}, [])


def test_a_stopped_firewalld_loses_exactly_our_files(stopped, pillar):
    before = contents(stopped)
    written = stopped.call("prepare", pillar, **NO_MASTER)["changes"]["permanent"]
    predicted = stopped.call("remove", test=True)
    assert contents(stopped) != before
    removed = stopped.call("remove")
    assert removed["changes"] == predicted["changes"]
    assert set(removed["changes"]["permanent"]) == set(written)
    assert contents(stopped) == before
    assert stopped.call("remove")["changes"] == {}
    assert [entry["what"] for entry in stopped.call("history")[:2]] == ["remove", "prepare"]
    assert "firewalld" not in names(stopped)


@pytest.mark.parametrize("backend", ["nftables", exhaustive("iptables")])
def test_the_rules_that_a_killed_firewalld_left_are_not_taken_for_none(running, pillar, backend):
    other_firewalld.configure(running.host, f"FirewallBackend={backend}")
    running.host.restart_firewalld()
    running.call("apply", pillar)
    running.host.kill("firewalld", 9)
    before = contents(running)
    assert "firewalld is not running" in running.try_call("remove")["refused"][0]
    assert contents(running) == before
    other_firewalld.configure(running.host, "FirewallBackend=nftables")
    running.host.start_firewalld()
    running.call("apply", pillar)


def test_files_that_firewalld_would_not_load_are_not_written(stopped, pillar):
    theirs = stopped.path("/etc/firewalld/zones/broken.xml")
    theirs.write_text(BROKEN)
    try:
        before = contents(stopped)
        for test in (True, False):
            (refused,) = stopped.try_call("prepare", pillar, test=test, **NO_MASTER)["refused"]
            assert "would not load: INVALID_SERVICE" in refused
            assert contents(stopped) == before
    finally:
        theirs.unlink()


def test_a_damaged_file_that_is_not_known_as_ours_is_not_replaced(stopped, pillar):
    theirs = stopped.path("/etc/firewalld/policies/k3s-rows.xml")
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("<policy>")
    try:
        (refused,) = stopped.try_call("prepare", pillar, **NO_MASTER)["refused"]
        assert "k3s-rows" in refused
        assert theirs.read_text() == "<policy>"
    finally:
        theirs.unlink()


def test_a_damaged_file_of_ours_is_replaced(stopped, pillar):
    stopped.call("prepare", pillar, **NO_MASTER)
    whole = contents(stopped)
    stopped.path("/etc/firewalld/policies/k3s-rows.xml").write_text("<policy>")
    stopped.call("prepare", pillar, **NO_MASTER)
    assert contents(stopped) == whole


def test_in_an_image_the_firewalld_of_the_building_host_is_left_alone(running, pillar):
    runtime = running.runtime()
    ruleset = running.nft("-s", "list", "ruleset")
    written = offline(running, "prepare", pillar, **NO_MASTER)
    assert set(written["changes"]) == {"permanent"}
    assert any("validated" in notice for notice in written["notices"])
    assert running.runtime() == runtime
    assert running.nft("-s", "list", "ruleset") == ruleset
    for function in ("apply", "check_zones", "heal"):
        assert "this is an image" in offline(running, function, pillar)["refused"][0]
    assert offline(running, "remove", None)["changes"]["permanent"].keys() == (
        written["changes"]["permanent"].keys()
    )


def test_where_no_second_firewalld_can_be_started_its_own_check_validates(running, pillar):
    no_namespaces = ["setpriv", "--bounding-set", "-sys_admin"]
    theirs = running.path("/etc/firewalld/zones/broken.xml")
    theirs.write_text(BROKEN)
    try:
        before = contents(running)
        (refused,) = offline(running, "prepare", pillar, *no_namespaces, **NO_MASTER)["refused"]
        assert "'nonesuch' not among existing services" in refused
        assert contents(running) == before
    finally:
        theirs.unlink()
    written = offline(running, "prepare", pillar, *no_namespaces, **NO_MASTER)
    assert any("validated by firewall-offline-cmd" in notice for notice in written["notices"])
    offline(running, "remove", None)


def test_without_a_running_firewalld_a_check_does_not_guess(stopped, pillar):
    for function in ("check_ports", "check_zones", "compare"):
        assert "firewalld is not running" in stopped.try_call(function, pillar)["refused"][0]
