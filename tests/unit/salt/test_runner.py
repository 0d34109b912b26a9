"""salt-run, called for real: its exit codes, its text, and what it says when it cannot work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import salt.config
from junitparser import Failure, JUnitXml
from salt.loader import LazyLoader

from tests.cluster import other_salt
from tests.paths import PILLAR, ROOT
from tests.selection import exhaustive
from tests.unit.masterless import configure
from tests.unit.salt.salt_run import RunnerMaster, claims

BROKEN = {"ports": {"cluster": {"etcd": {"source": "any"}}}}
WARNED = {**BROKEN, "tests": {"etcd_is_for_servers": {"severity": "warn"}}}
BAD = {"ports": {"cluster": {"etcd": {"port": 99999}}}}


@pytest.fixture(scope="module", params=["3008", exhaustive("3007"), exhaustive("3006")])
def master(request, tmp_path_factory):
    """A master of each supported release, with five nodes and the shipped tables."""
    python = other_salt.programs(request.param) / "python"
    master = RunnerMaster(tmp_path_factory.mktemp("master"), python)
    master.hear_nodes()
    return master


@pytest.fixture(scope="module")
def folders(master):
    trees = {"broken": BROKEN, "warned": WARNED, "bad": BAD}
    return {name: master.folder_with(name, tree) for name, tree in trees.items()}


def test_promises_that_are_kept_exit_with_0_and_broken_ones_with_2(master, folders):
    kept = master.run("k3sfw.test")
    assert kept.code == 0
    assert kept.data["promises"]["counts"]["broken"] == 0
    broken = master.run("k3sfw.test", f"new={folders['broken']}")
    assert broken.code == 2
    (first, *_rest) = broken.data["promises"]["tests"]
    assert (first["name"], first["value"]) == ("etcd_is_for_servers", "broken")


def test_promises_are_test_results_for_a_ci(master, folders, tmp_path):
    file = tmp_path / "promises.xml"
    ran = master.run("k3sfw.test", f"new={folders['broken']}", f"junit={file}")
    assert ran.code == 2
    (suite,) = JUnitXml.fromstring(file.read_bytes())
    results = {case.name: [type(each) for each in case.result] for case in suite}
    assert results["etcd_is_for_servers"] == [Failure]
    assert results["kubelet_is_for_nodes"] == []
    ran = master.run("k3sfw.test", f"junit={tmp_path}")
    assert (ran.code, len(ran.data["problems"])) == (1, 1)


def test_a_broken_promise_that_is_a_warning_is_told_and_exits_with_0(master, folders):
    warned = master.run("k3sfw.test", f"new={folders['warned']}")
    assert warned.code == 0
    assert warned.data["promises"]["counts"]["broken"] == 1


def test_a_difference_exits_with_2_and_none_with_0(master, folders):
    same = master.run("k3sfw.diff", "old=base", "new=base")
    assert (same.code, same.data["opened"], same.data["closed"]) == (0, [], [])
    found = master.run("k3sfw.diff", "old=base", f"new={folders['broken']}")
    assert (found.code, found.data["closed"]) == (2, [])
    (change,) = found.data["opened"]
    assert (change["from"], change["to"]) == (["agent"], ["server"])
    assert change["ports"] == ["tcp/2379-2380"]


@pytest.mark.parametrize(
    "words", [("k3sfw.test", "new={bad}"), ("k3sfw.diff", "old=base", "new={bad}")]
)
def test_bad_tables_exit_with_4_and_every_fault(master, folders, words):
    ran = master.run(*(word.format(**folders) for word in words))
    assert ran.code == 4
    assert "k3s:ports:cluster:etcd:port" in " ".join(ran.data["problems"])


def test_a_pillar_that_does_not_render_exits_with_4(master):
    folder = master.folder_with("unrendered", {})
    Path(folder, "k3s/site.sls").write_text("{{ nothing() }}")
    ran = master.run("k3sfw.test", f"new={folder}")
    assert ran.code == 4
    assert "does not render" in ran.data["problems"][0]


@pytest.mark.parametrize(
    "word",
    ["new=nowhere", "new=/no/such/folder", "new=ref:nowhere", "minion=stranger", "cluster=x"],
)
def test_what_cannot_be_read_exits_with_1_and_a_fix(master, word):
    ran = master.run("k3sfw.test", word)
    assert ran.code == 1
    assert all("Fix: " in problem for problem in ran.data["problems"])


def test_the_text_is_shown_without_being_asked_for(master):
    ran = master.run("k3sfw.tables", form="")
    assert ran.code == 0
    assert ran.text.startswith("Cluster default: 17 rows of base for 3 servers, 2 agents")
    assert "Traceback" not in ran.text


def test_the_pillar_of_an_agent_can_be_chosen_and_says_the_same(master, folders):
    found = master.run("k3sfw.diff", f"old={folders['broken']}", "new=base", "minion=a1")
    assert found.code == 2
    assert [change["from"] for change in found.data["closed"]] == [["agent"]]
    assert found.data["notes"] == []


def test_another_environment_of_the_master_is_judged_by_its_own_top_file(tmp_path):
    stage = tmp_path / "stage"
    roots = {"base": [str(tmp_path / "site"), str(PILLAR)], "stage": [str(stage), str(PILLAR)]}
    master = RunnerMaster(tmp_path, pillar_roots=roots)
    master.hear_nodes()
    master.folder_with("stage", BROKEN)
    unassigned = master.run("k3sfw.test", "new=stage")
    assert unassigned.code == 4
    top = (PILLAR / "top.sls").read_text().replace("base:", "stage:")
    (stage / "top.sls").write_text(top)
    broken = master.run("k3sfw.test", "new=stage")
    assert (broken.code, broken.data["promises"]["counts"]["broken"]) == (2, 1)


def test_a_git_reference_is_compared_with_what_is_there_now(tmp_path):
    site = tmp_path / "site"
    master = RunnerMaster(tmp_path)
    master.hear_nodes()
    for tree in ({}, BROKEN):
        master.site(tree)
        for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message=x")):
            identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
            subprocess.run(["git", "-C", site, *identity, *words], check=True)
    assert master.run("k3sfw.diff", "old=ref:HEAD~1", "new=ref:HEAD").code == 2
    assert master.run("k3sfw.diff", "old=ref:HEAD", "new=base").code == 0


def test_without_a_minion_the_nodes_that_the_site_pins_are_enough(tmp_path):
    master = RunnerMaster(tmp_path)
    unknown = master.run("k3sfw.test")
    assert unknown.code == 1
    assert "no node is known" in unknown.data["problems"][0]
    server = {"role": "server", "addresses": ["192.0.2.11"]}
    agent = {"role": "agent", "addresses": ["192.0.2.21"]}
    master.site({"nodes": {"s1": server, "a1": agent}})
    ran = master.run("k3sfw.test")
    assert (ran.code, ran.data["notes"]) == (0, [])


def test_of_several_clusters_one_must_be_named(tmp_path):
    master = RunnerMaster(tmp_path)
    master.hear("s1", claims("server", "192.0.2.11"))
    master.hear("e1", claims("server", "192.0.2.91", k3s_cluster="east"))
    assert master.run("k3sfw.tables").code == 1
    east = master.run("k3sfw.tables", "cluster=east")
    assert east.code == 0
    assert "Cluster east" in east.data["summary"]


def test_a_minion_that_claims_a_role_against_its_pin_stops_no_judgement(tmp_path):
    master = RunnerMaster(tmp_path)
    master.hear_nodes()
    master.hear("a0", claims("server", "192.0.2.66"))
    master.site({"nodes": {"a0": {"role": "agent", "addresses": ["192.0.2.66"]}}})
    assert master.run("k3sfw.test").code == 0


def test_a_minion_refuses_the_runner_and_says_why(tmp_path):
    configure(tmp_path)
    opts = salt.config.minion_config(str(tmp_path / "minion"))
    folders = {"extra_module_dirs": [str(ROOT / "_utils")]}
    runners = LazyLoader([str(ROOT / "_runners")], opts, tag="runners", **folders)
    assert "k3sfw.test" not in runners
    assert "run salt-run on the master" in runners.missing_fun_string("k3sfw.test")


def test_who_and_reach_name_rows_with_the_file_in_which_they_are_changed(master):
    who = master.run("k3sfw.who", "to=s1", "port=2379")
    assert who.code == 0
    assert who.data["openings"][0]["from"] == ["server"]
    assert who.data["openings"][0]["line"].startswith("k3s/tables/cluster.yaml:")
    reach = master.run("k3sfw.reach", "from=a1")
    assert reach.code == 0
    assert "k3s:ports:cluster:etcd" not in {each["path"] for each in reach.data["openings"]}


@pytest.mark.parametrize(
    "words",
    [
        ("k3sfw.who", "to=stranger", "port=1"),
        ("k3sfw.who", "to=s1", "port=tcp/22", "from=/etc/hosts"),
        ("k3sfw.reach", "fron=a1"),
    ],
)
def test_a_question_that_is_mistyped_exits_with_1_and_a_fix(master, words):
    ran = master.run(*words)
    assert ran.code == 1
    assert "Fix: " in ran.data["problems"][0]


def test_a_change_that_is_exactly_the_intended_one_exits_with_0(master, folders):
    words = ("k3sfw.diff", "old=base", f"new={folders['broken']}")
    exact = master.run(*words, "intended={from: agent, to: server, port: 2379-2380}")
    assert (exact.code, exact.data["intended"]["is_exactly_this"]) == (0, True)
    more = master.run(*words, "intended={from: agent, to: server, port: 2379}")
    assert more.code == 2
    (other,) = more.data["intended"]["others"]["opened"]
    assert other["ports"] == ["tcp/2380"]


def test_a_difference_can_be_markdown_and_nothing_else_that_is_unknown(master, folders):
    words = ("k3sfw.diff", "old=base", f"new={folders['broken']}")
    text = master.run(*words, "form=md", form="").text
    assert "| agent | server | tcp/2379-2380 |" in text
    assert master.run(*words, "form=svg").code == 1
