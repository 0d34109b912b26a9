"""salt-run k3sfw.check, called for real: the exit code of each verdict, its text and its files."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from tests.cluster import other_salt
from tests.selection import exhaustive
from tests.simulated_fleet import Fault, simulated_fleet
from tests.unit.salt.salt_run import RunnerMaster

REJECTS = Fault("rejects", "s1", "6443")
SAVED = {
    "ok": simulated_fleet(5),
    "warn": simulated_fleet(5, [Fault("no_listener", "a1", "9500")]),
    "fail": simulated_fleet(5, [REJECTS, Fault("silent", "a2")]),
    "unknown": simulated_fleet(5, [Fault("silent", "a2")]),
}


@pytest.fixture(scope="module", params=["3008", exhaustive("3007"), exhaustive("3006")])
def master(request, tmp_path_factory):
    """A master of each supported release, without daemons, and saved answers in its folder."""
    python = other_salt.programs(request.param) / "python"
    master = RunnerMaster(tmp_path_factory.mktemp("master"), python)
    for name, cluster in SAVED.items():
        (master.folder / name).write_text(json.dumps(cluster.as_dict()))
    return master


@pytest.mark.parametrize(("name", "code"), [("ok", 0), ("warn", 1), ("fail", 2), ("unknown", 3)])
def test_each_verdict_has_its_exit_code(master, name, code):
    ran = master.run("k3sfw.check", f"from={master.folder / name}")
    assert (ran.code, ran.data["status"].lower()) == (code, name)


def test_the_text_is_shown_without_being_asked_for(master):
    lines = master.run("k3sfw.check", f"from={master.folder / 'fail'}", form="").text.splitlines()
    assert lines[0] == "FAIL 4 of 5 nodes answered: 1 problem."
    assert "     Fix: salt s1 state.apply k3s.firewall" in lines
    assert max(map(len, lines)) <= 80


def test_every_form_is_written_as_a_whole_and_says_the_same(master):
    files = {name: master.folder / f"written.{name}" for name in ("save", "junit", "prometheus")}
    words = [f"{name}={path}" for name, path in files.items()]
    ran = master.run("k3sfw.check", f"from={master.folder / 'fail'}", *words)
    assert ran.data["written"] == list(map(str, files.values()))
    assert json.loads(files["save"].read_text()) == SAVED["fail"].as_dict()
    assert ElementTree.parse(files["junit"]).getroot().get("errors") == "1"
    assert 'k3sfw_cluster_nodes{cluster="production",state="silent"} 1' in (
        files["prometheus"].read_text()
    )
    assert not list(master.folder.glob("*.new"))


def test_progress_is_shown_to_an_operator_and_not_to_a_program(tmp_path):
    master = RunnerMaster(tmp_path)
    (runner,) = tmp_path.rglob("extmods/runners/k3sfw.py")
    # Answers that are read from a file come at once, so a function beside the real one tells.
    telling = "\n\ndef tell_and_check(**kwargs):\n    _tell('1 of 5 nodes answered')\n"
    runner.write_text(f"{runner.read_text()}{telling}    return check(**kwargs)\n")
    (tmp_path / "ok").write_text(json.dumps(SAVED["ok"].as_dict()))
    words = ("k3sfw.tell_and_check", f"from={tmp_path / 'ok'}")
    assert master.run(*words, form="").text.splitlines()[0] == "1 of 5 nodes answered"
    assert master.run(*words).data["status"] == "OK"


@pytest.mark.parametrize(
    "words",
    [
        ["from=/no/such/file"],
        ["from=/etc/hosts"],
        ["from={ok}", "save=/"],
        ["from={ok}", "save=/no/such/folder/file"],
        ["form=x"],
        ["peers=-1"],
        ["timeout=soon"],
    ],
)
def test_what_is_mistyped_or_cannot_be_written_exits_with_3_and_a_fix(master, words):
    ran = master.run("k3sfw.check", *(word.format(ok=master.folder / "ok") for word in words))
    assert (ran.code, ran.data["view"]) == (3, "error")
    assert "Fix: " in ran.data["problems"][0]


def test_bad_tables_exit_with_4_before_any_node_is_asked(tmp_path):
    master = RunnerMaster(tmp_path)
    master.hear_nodes()
    master.site({"ports": {"cluster": {"etcd": {"port": 99999}}}})
    ran = master.run("k3sfw.check")
    assert ran.code == 4
    assert "k3s:ports:cluster:etcd:port" in " ".join(ran.data["problems"])


def test_nodes_whose_keys_are_not_accepted_are_silent_and_the_verdict_is_not_ok(tmp_path):
    master = RunnerMaster(tmp_path)
    master.site({"nodes": {"s1": {"role": "server", "addresses": ["192.0.2.11"]}}})
    ran = master.run("k3sfw.check")
    assert ran.code == 3
    assert ran.data["coverage"]["silent"] == {"s1": "the master has accepted no key of a minion s1"}


def test_a_master_that_does_not_run_is_told_in_a_sentence(tmp_path):
    master = RunnerMaster(tmp_path, timeout=1)
    master.hear_nodes()
    ran = master.run("k3sfw.check", "timeout=1")
    assert ran.code == 3
    assert "the minions cannot be asked" in ran.data["problems"][0]
