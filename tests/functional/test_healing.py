"""Damage by a killed firewalld or a full disk is healed, and what the operator wants is kept.

Each kind of damage has its real cause: firewalld killed in the middle of a reload, truncated files,
failing starts.
"""

import random
import sys
import time
from pathlib import Path

import pytest

from lab import daemons
from lab.errors import LabError
from tests.firewalld_damage import (
    DROP_TABLE,
    has_drop_table,
    kill_firewalld,
    kill_firewalld_in_a_reload,
    make_reloads_long,
)
from tests.functional.listeners import PYTHON, listening
from tests.selection import exhaustive

UTILS = Path(__file__).parents[2] / "_utils"

REDIS = 6379
SSH = 22

NOT_LOADED = "<zone><service name='nonesuch'/></zone>"
# This passes firewalld's own check and fails its start.
NOT_STARTED = '<ipset type="hash:net"><entry>10.0.0.0/8</entry><entry>10.1.0.0/16</entry></ipset>'


@pytest.fixture
def served(node, pillar):
    """A node with its rules, and listeners on the ports of ssh and redis."""
    node.call("apply", pillar)
    with listening(node.host, SSH, REDIS):
        yield node


def answer(outsider, node, port=REDIS):
    """The result of a new connection from outside."""
    ask = (
        "import socket, sys\n"
        "try:\n"
        f"    socket.create_connection(({node.host.ipv4!r}, {port}), timeout=1).close()\n"
        "    print('open')\n"
        "except TimeoutError:\n"
        "    print('dropped')\n"
        "except OSError:\n"
        "    print('refused')\n"
    )
    return outsider.run([*PYTHON, "-c", ask]).stdout.strip()


def start_failed(node):
    node.host.stop_firewalld()
    try:
        node.host.start_firewalld(state="FAILED")
    except LabError:
        if daemons.firewalld_state(node.host) == "RUNNING":
            pytest.skip("this firewalld starts without the files that it cannot load")
        raise


def state(node):
    return node.host.run(["firewall-cmd", "--state"], check=False).stdout.strip()


def policy_file(node, name="k3s-rows"):
    return node.path(f"/etc/firewalld/policies/{name}.xml")


# -- a firewalld killed in a reload ---------------------------------------------------------------


@pytest.mark.parametrize("function", ["heal", "apply"])
def test_a_host_cut_off_by_a_firewalld_killed_in_a_reload_is_reachable_again(
    served, outsider, pillar, function
):
    tables = None if function == "heal" else pillar
    assert answer(outsider, served) == "open"
    kill_firewalld_in_a_reload(served.host)
    served.host.start_firewalld()
    assert state(served) == "running"
    if not has_drop_table(served.host):
        pytest.skip("this firewalld removes what one that was killed left")
    assert answer(outsider, served) == "dropped"

    before = served.everything()
    predicted = served.call(function, tables, test=True)
    assert served.everything() == before
    outcome = served.call(function, tables)
    assert list(outcome["changes"]) == ["kernel"]
    assert predicted["changes"] == outcome["changes"]
    (told,) = outcome["notices"]
    assert told.startswith(f"healed by removing it: the table inet {DROP_TABLE}")
    assert outcome["reloads"] == []

    assert answer(outsider, served) == "open"
    assert not has_drop_table(served.host)
    assert served.call(function, tables) == NOTHING
    served.firewall_cmd("--reload")
    assert not has_drop_table(served.host)
    assert served.call("compare", pillar)["changes"] == {}


NOTHING = {"changes": {}, "reloads": [], "notices": []}


def test_a_dead_firewalld_without_its_rules_is_reported_and_the_host_stays_closed(served, outsider):
    kill_firewalld_in_a_reload(served.host)
    outcome = served.call("heal")
    assert outcome["changes"] == {}
    (told,) = outcome["notices"]
    assert "its own rules are gone" in told
    assert "Fix: systemctl start firewalld" in told
    assert has_drop_table(served.host)
    assert answer(outsider, served) == "dropped"
    assert "firewalld" not in served.host.daemons()


def test_a_dead_firewalld_whose_rules_stand_still_lets_in_what_they_allow(served, outsider):
    kill_firewalld_in_a_reload(served.host)
    served.host.start_firewalld()
    kill_firewalld(served.host)
    assert list(served.call("heal")["changes"]) == ["kernel"]
    assert answer(outsider, served) == "open"
    assert answer(outsider, served, 9999) == "refused"


def test_the_table_of_a_frozen_firewalld_stays_as_it_may_be_reloading(served):
    kill_firewalld_in_a_reload(served.host)
    served.host.start_firewalld()
    served.freeze_firewalld()
    outcome = served.call("heal")
    assert outcome["changes"] == {}
    assert "a reload may be running" in outcome["notices"][0]
    assert has_drop_table(served.host)


@pytest.mark.parametrize("after_a_reload", [False, True])
def test_a_wanted_panic_stays_even_on_top_of_a_leftover_table(served, outsider, after_a_reload):
    if after_a_reload:
        kill_firewalld_in_a_reload(served.host)
        served.host.start_firewalld()
    served.firewall_cmd("--panic-on")
    assert served.call("heal")["changes"] == {}
    assert served.firewall_cmd("--query-panic") == "yes"
    assert has_drop_table(served.host)
    assert answer(outsider, served) == "dropped"
    # The operator lifts it.
    served.firewall_cmd("--panic-off")
    if not after_a_reload:
        assert answer(outsider, served) == "open"


def test_a_panic_that_a_new_firewalld_does_not_know_is_reported_and_stays(served, outsider):
    served.firewall_cmd("--panic-on")
    kill_firewalld(served.host)
    served.host.start_firewalld()
    outcome = served.call("heal")
    assert outcome["changes"] == {}
    assert "still in panic mode" in outcome["notices"][0]
    assert answer(outsider, served) == "dropped"


RELOADS = 5


def test_the_table_of_a_running_reload_is_never_removed(served, pillar):
    make_reloads_long(served.host)
    log = served.host.path("/run/rules-changed")
    with log.open("w") as output:
        monitor = served.host.popen(["nft", "monitor", "tables"], stdout=output)
    try:
        for _ in range(RELOADS):
            reload = served.host.popen(["firewall-cmd", "--reload"], stdout=-3, stderr=-3)
            while not has_drop_table(served.host):
                assert reload.poll() is None
            time.sleep(random.uniform(0, 0.3))
            assert served.call("heal") == NOTHING
            assert reload.wait(20) == 0
    finally:
        monitor.kill()
        monitor.wait()
    # One removal for each reload, its own: a second one would be reported, or fail the reload.
    assert log.read_text().count(f"delete table inet {DROP_TABLE}\n") == RELOADS
    assert served.call("compare", pillar)["changes"] == {}


BETWEEN_LOOK_AND_REMOVAL = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from k3sfw_engine.host.nft_netlink import NftNetlink

with NftNetlink() as tables:
    generation, table = tables.generation(), tables.find("firewalld_policy_drop")
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
    print(tables.delete(table, generation), tables.find("firewalld_policy_drop") is not None)
"""


@pytest.mark.parametrize(
    ("meanwhile", "removed"),
    [
        (["true"], "True False"),
        (["firewall-cmd", "--panic-on"], "False True"),
        (["firewall-cmd", "--zone=public", "--add-port=9/tcp"], "False True"),
    ],
)
def test_a_table_is_removed_only_if_nothing_changed_since_it_was_read(served, meanwhile, removed):
    kill_firewalld_in_a_reload(served.host)
    served.host.start_firewalld()
    script = [sys.executable, "-c", BETWEEN_LOOK_AND_REMOVAL, str(UTILS), *meanwhile]
    assert served.run(*script).strip() == removed


# -- files of ours --------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", exhaustive(b"\0" * 4096)])
def test_a_damaged_file_of_ours_is_restored_before_firewalld_reads_it(served, pillar, content):
    good = policy_file(served).read_bytes()
    policy_file(served).write_bytes(content)
    before = served.everything()
    predicted = served.call("heal", test=True)
    assert served.everything() == before
    with served.reload_counter() as reloads:
        outcome = served.call("heal")
        assert reloads.count() == 0
    assert outcome["changes"] == predicted["changes"]
    assert list(outcome["changes"]["permanent"]) == ["policy k3s-rows"]
    assert policy_file(served).read_bytes() == good
    assert served.call("heal") == NOTHING
    served.host.restart_firewalld()
    assert served.call("compare", pillar)["changes"] == {}


def test_a_file_of_ours_is_restored_without_starting_a_stopped_firewalld(served):
    served.host.stop_firewalld()
    policy_file(served).write_bytes(b"")
    assert list(served.call("heal")["changes"]) == ["permanent"]
    assert "firewalld" not in served.host.daemons()
    served.host.start_firewalld()


def test_a_damaged_file_that_k3sfw_never_wrote_is_reported_and_not_touched(served, pillar):
    policy_file(served, "k3s-something").write_bytes(b"")
    before = served.everything()
    outcome = served.call("heal")
    assert outcome["changes"] == {}
    (told,) = outcome["notices"]
    assert "policy k3s-something cannot be read" in told
    assert served.everything() == before


def test_remove_leaves_no_copy_of_a_file(served):
    assert served.path("/var/lib/k3sfw/files").stat().st_mode & 0o777 == 0o700
    served.call("remove")
    assert not served.path("/var/lib/k3sfw/files").exists()


# -- a firewalld that did not load its files ------------------------------------------------------


def truncated(node):
    policy_file(node).write_bytes(b"")


def all_truncated(node):
    for path in node.path("/etc/firewalld").rglob("k3s*.xml"):
        path.write_bytes(b"")


def naming_what_is_not_there(node):
    node.path("/etc/firewalld/ipsets/k3s-server-4.xml").unlink()


@pytest.mark.parametrize(
    ("function", "spoil"),
    [
        exhaustive("heal", truncated),
        ("heal", naming_what_is_not_there),
        ("apply", all_truncated),
    ],
)
def test_a_firewalld_failed_by_our_file_runs_again_with_our_rows(
    served, outsider, pillar, spoil, function
):
    tables = None if function == "heal" else pillar
    spoil(served)
    start_failed(served)
    assert answer(outsider, served) == "refused"

    before = served.everything()
    predicted = served.call(function, tables, test=True)
    assert served.everything() == before
    outcome = served.call(function, tables)
    assert predicted["changes"] == outcome["changes"]
    assert outcome["changes"]["runtime"] == {
        "firewalld": {"state": {"old": "FAILED", "new": "RUNNING"}}
    }
    assert len(outcome["reloads"]) == 1

    assert state(served) == "running"
    assert answer(outsider, served) == "open"
    assert answer(outsider, served, SSH) == "open"
    assert served.call(function, tables) == NOTHING
    assert served.call("compare", pillar)["changes"] == {}


def test_a_heal_killed_before_its_reload_is_completed_by_the_next(served, outsider):
    good = policy_file(served).read_bytes()
    truncated(served)
    start_failed(served)
    policy_file(served).write_bytes(good)
    assert list(served.call("heal")["changes"]) == ["runtime"]
    assert answer(outsider, served) == "open"


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("zones/broken.xml", NOT_LOADED, "nonesuch"),
        ("ipsets/broken.xml", NOT_STARTED, "conflicting intervals"),
    ],
)
def test_a_firewalld_that_another_owners_file_broke_is_reported_and_nothing_is_touched(
    served, outsider, pillar, path, content, words
):
    served.path(
        "/etc/firewalld",
    ).joinpath(path).write_text(content)
    start_failed(served)
    files, rules = served.files(), served.nft("list", "ruleset")
    outcome = served.call("heal")
    assert outcome["changes"] == {}
    (told,) = outcome["notices"]
    assert words in told
    assert "Fix: " in told
    (refused,) = served.try_call("apply", pillar)["refused"]
    assert words in refused
    assert (served.files(), served.nft("list", "ruleset")) == (files, rules)
    # Stock rules allow ssh; a reload would have left no rules at all.
    assert answer(outsider, served, SSH) == "open"
    assert answer(outsider, served) == "refused"


def test_of_two_damaged_files_ours_is_restored_and_the_other_is_reported(served):
    truncated(served)
    served.path("/etc/firewalld/zones/broken.xml").write_text(NOT_LOADED)
    start_failed(served)
    outcome = served.call("heal")
    assert list(outcome["changes"]) == ["permanent"]
    assert any("nonesuch" in sentence for sentence in outcome["notices"])
    served.path("/etc/firewalld/zones/broken.xml").unlink()
    assert list(served.call("heal")["changes"]) == ["runtime"]
    assert state(served) == "running"


def test_a_failed_firewalld_on_a_node_without_anything_of_ours_is_left_alone(node):
    node.path("/etc/firewalld/zones/broken.xml").write_text(NOT_LOADED)
    start_failed(node)
    node.path("/etc/firewalld/zones/broken.xml").unlink()
    assert node.call("heal")["changes"] == {}
    assert state(node) != "running"


# -- nothing to do --------------------------------------------------------------------------------


def test_on_a_healthy_node_nothing_is_found_and_nothing_touched(served):
    before = served.everything()
    assert served.call("heal") == NOTHING
    assert served.everything() == before


def test_a_stopped_firewalld_is_not_started_and_not_damage(node):
    node.host.stop_firewalld()
    assert node.call("heal") == NOTHING
    assert "firewalld" not in node.host.daemons()


def test_without_a_bus_nothing_is_found_and_nothing_touched(node):
    node.host.kill("dbus-daemon", 9)
    node.path("/run/dbus/system_bus_socket").unlink(missing_ok=True)
    assert node.call("heal") == NOTHING
