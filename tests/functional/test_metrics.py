"""A node's metrics on a real host: written by every check, and never worth more than the check."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.functional.hosts import Node, standing

FOLDER = "/var/lib/prometheus/node-exporter"
FILE = f"{FOLDER}/k3sfw.prom"
REMEMBERED = "/var/lib/k3sfw/measurements.json"
ON = {"metrics": {"enabled": True}}
OFF = {"metrics": {"enabled": False}}
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'\w+="((?:[^"\\]|\\.)*)"')


@pytest.fixture(scope="module")
def raised():
    with standing("metrics") as lab:
        yield lab


@pytest.fixture
def node(raised, pillar):
    """The applied node with its metrics switched on, before the first check."""
    host = Node(raised.host("s1"))
    host.run("mkdir", "-p", FOLDER)
    host.call("apply", pillar)
    host.call("remove_metrics")
    host.call("metrics", ON)
    return host


def series(node, folder=FOLDER):
    """Every sample of the file by its metric and the values of its labels."""
    lines = node.path(f"{folder}/k3sfw.prom").read_text().splitlines()
    samples = [_SAMPLE.fullmatch(line) for line in lines if not line.startswith("#")]
    return {
        (found[1], *_LABEL.findall(found[2] or "")): float(found[3]) for found in samples if found
    }


@contextmanager
def full_disk(node, folder):
    """Put the folder on a disk of its own that has no room."""
    node.run("cp", "-a", folder, "/run/kept")
    node.run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder)
    try:
        node.run("cp", "-a", "/run/kept/.", folder)
        node.run("dd", "if=/dev/zero", f"of={folder}/filling", "bs=4k", check=False)
        yield
    finally:
        node.run("umount", folder)
        node.run("rm", "-rf", "/run/kept")


def test_a_check_writes_what_it_found(node, pillar):
    assert series(node)["k3sfw_check_last_run_timestamp_seconds", "ports"] == 0
    checked = node.call("measured_check", pillar)
    found = series(node)
    assert checked["notices"] == []
    assert found["k3sfw_check_problems", "ports", "blocked"] == 0
    assert found["k3sfw_check_questions", "ports", "yes"] > 0
    assert [found["k3sfw_in_step", each] for each in ("runtime", "permanent", "kernel")] == [1] * 3
    assert found["k3sfw_check_last_success_timestamp_seconds", "ports"] > 0
    assert found["k3sfw_last_change_timestamp_seconds", "kept"] > 0
    assert found["k3sfw_peers",] == 2


def test_drift_is_told_by_its_layer_until_it_is_corrected(node, pillar):
    rules = node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules").splitlines()
    rule = next(each for each in rules if "6379" in each)
    node.firewall_cmd("--policy=k3s-rows", f"--remove-rich-rule={rule}")
    node.call("measured_check", pillar)
    found = series(node)
    assert (found["k3sfw_in_step", "runtime"], found["k3sfw_in_step", "permanent"]) == (0, 1)
    assert found["k3sfw_check_problems", "ports", "blocked"] > 0
    node.call("apply", pillar)
    node.call("measured_check", pillar)
    found = series(node)
    assert found["k3sfw_in_step", "runtime"] == 1
    assert found["k3sfw_check_problems", "ports", "blocked"] == 0


def test_a_check_that_cannot_check_is_told_and_forgets_nothing(node, pillar):
    node.call("measured_check", pillar)
    before = series(node)
    node.host.stop_firewalld()
    try:
        assert node.call("measured_check", pillar)["status"] == "UNKNOWN"
        after = series(node)
    finally:
        node.host.start_firewalld()
        node.call("apply", pillar)
    ran, succeeded = (
        (f"k3sfw_check_last_{each}_timestamp_seconds", "ports") for each in ("run", "success")
    )
    assert after[ran] > before[ran]
    assert after[succeeded] == before[succeeded]
    kept = ("k3sfw_check_questions", "ports", "yes")
    assert after[kept] == before[kept]


def test_a_change_that_waits_is_told_until_it_is_confirmed(node, pillar, new_row):
    until = ("k3sfw_unconfirmed_until_timestamp_seconds",)
    node.call("apply", new_row, confirm_within=60)
    node.call("measured_check", new_row)
    assert series(node)[until] > series(node)["k3sfw_check_last_run_timestamp_seconds", "ports"]
    node.call("confirm")
    node.call("measured_check", new_row)
    assert series(node)[until] == 0


@pytest.mark.parametrize("folder", [FOLDER, "/var/lib/k3sfw"])
def test_a_full_disk_costs_the_metrics_and_not_the_answer(node, pillar, folder):
    before = node.path(FILE).read_text()
    with full_disk(node, folder):
        checked = node.call("measured_check", pillar)
        assert checked["status"] != "UNKNOWN"
        assert len(checked["notices"]) == 1 and f"{folder}/" in checked["notices"][0]
        assert "Fix: make room" in checked["notices"][0]
        if folder == FOLDER:
            assert node.path(FILE).read_text() == before
            assert node.run("ls", "-A", folder).split() == ["filling", "k3sfw.prom"]
        else:
            assert series(node)["k3sfw_check_last_run_timestamp_seconds", "ports"] > 0
    assert node.call("measured_check", pillar)["notices"] == []


def test_a_missing_folder_costs_the_metrics_and_not_the_answer(node, pillar):
    node.run("rm", "-r", FOLDER)
    try:
        checked = node.call("measured_check", pillar)
        (notice,) = checked["notices"]
        assert checked["status"] != "UNKNOWN"
        assert FOLDER in notice and "Fix: install node_exporter" in notice
        assert not node.path(FOLDER).exists()
        assert node.call("metrics", ON)["problems"] == [notice]
    finally:
        node.run("mkdir", FOLDER)


def test_a_broken_memory_is_told_and_begun_anew(node, pillar):
    node.call("measured_check", pillar)
    before = node.path(FILE).read_text()
    node.path(REMEMBERED).write_text('{"format": 1, "runs"')
    (notice,) = node.call("measured_check", pillar)["notices"]
    assert REMEMBERED in notice and "Fix: state.apply k3s.metrics" in notice
    assert node.path(FILE).read_text() == before
    (told,) = node.call("metrics", ON)["problems"]
    assert told == notice
    assert series(node)["k3sfw_check_last_run_timestamp_seconds", "ports"] == 0
    assert node.call("measured_check", pillar)["notices"] == []


def test_a_second_run_changes_nothing_and_a_dry_run_touches_nothing(node):
    assert node.call("metrics", ON)["changes"] == {}
    assert node.call("metrics", OFF, test=True)["changes"] == {FILE: "removed"}
    assert node.path(FILE).exists()
    assert node.call("metrics", OFF)["changes"] == {FILE: "removed"}
    assert node.call("metrics", OFF)["changes"] == {}
    assert node.call("metrics", ON, test=True)["changes"] == {FILE: "written"}
    assert not node.path(FILE).exists()


def test_a_moved_file_leaves_none_behind(node, pillar):
    moved = {"metrics": {"enabled": True, "path": "/var/lib/moved"}}
    node.run("mkdir", "-p", "/var/lib/moved")
    changes = {FILE: "removed", "/var/lib/moved/k3sfw.prom": "written"}
    assert node.call("metrics", moved)["changes"] == changes
    assert not node.path(FILE).exists()
    node.call("measured_check", pillar)
    assert series(node, "/var/lib/moved")["k3sfw_check_last_run_timestamp_seconds", "ports"] > 0
    assert node.call("metrics", ON)["changes"] == {
        each: {"removed": "written"}.get(done, "removed") for each, done in changes.items()
    }


def test_checks_at_the_same_time_lose_nothing(node, pillar):
    with ThreadPoolExecutor(max_workers=4) as pool:
        done = [pool.submit(node.call, "measured_check", pillar) for _ in range(8)]
        answers = [each.result() for each in done]
    assert [each["notices"] for each in answers] == [[]] * 8
    ran = series(node)["k3sfw_check_last_run_timestamp_seconds", "ports"]
    remembered = json.loads(node.path(REMEMBERED).read_text())["runs"]["ports"]["at"]
    assert ran == pytest.approx(remembered, abs=1e-5)
    assert node.run("ls", "-A", FOLDER).split() == ["k3sfw.prom"]


def test_a_node_whose_metrics_are_off_writes_none(node, pillar):
    node.call("metrics", OFF)
    assert node.call("measured_check", pillar)["notices"] == []
    assert not node.path(FILE).exists()
    assert not node.path(REMEMBERED).exists()


def test_a_removal_takes_everything_away(node, pillar):
    node.call("measured_check", pillar)
    node.path(f"{FOLDER}/other.prom").write_text("other 1\n")
    assert node.call("remove_metrics")["changes"] == {FILE: "removed"}
    assert node.run("ls", "-A", FOLDER).split() == ["other.prom"]
    assert not node.path(REMEMBERED).exists()
    node.run("rm", f"{FOLDER}/other.prom")


def test_what_is_remembered_is_for_root_alone(node, pillar):
    node.call("measured_check", pillar)
    assert node.path(REMEMBERED).stat().st_mode & 0o777 == 0o600
    assert node.path(FILE).stat().st_mode & 0o777 == 0o644
    assert json.loads(node.path(REMEMBERED).read_text())["folder"] == FOLDER
