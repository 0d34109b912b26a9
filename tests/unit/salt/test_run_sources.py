"""salt-run, called for real: where the tables come from, and that nothing is changed by reading."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.cluster import other_salt
from tests.paths import PILLAR
from tests.selection import exhaustive
from tests.unit.salt.salt_run import RunnerMaster


@pytest.fixture(params=["3008", exhaustive("3007"), exhaustive("3006")])
def master(request, tmp_path):
    """A master of each supported release, with five nodes and the shipped tables."""
    python = other_salt.programs(request.param) / "python"
    master = RunnerMaster(tmp_path, python)
    master.hear_nodes()
    return master


def older_pillar(master):
    """A pillar root whose memory of the nodes has another layout than that of today."""
    folder = master.folder / "older"
    shutil.copytree(PILLAR, folder)
    nodes = folder / "k3s/nodes.sls"
    text, many = re.subn(r"^LAYOUT = \d+$", "LAYOUT = 1", nodes.read_text(), flags=re.MULTILINE)
    assert many == 1
    nodes.write_text(text)
    return folder


def test_a_preview_of_an_older_pillar_leaves_the_memory_of_the_nodes_as_it_is(master):
    master.master.pillar("s1", {"k3s_role": "server"})
    remembered = master.master.shared
    assert master.run("k3sfw.test", f"new={older_pillar(master)}").code == 0
    assert master.master.shared == remembered


def test_a_preview_does_not_begin_the_memory_of_the_nodes(master):
    assert "3 servers, 2 agents" in master.run("k3sfw.test").data["summary"]
    assert master.master.shared == {}


def test_a_folder_that_is_not_a_pillar_root_is_never_said_to_keep_its_promises(tmp_path):
    master = RunnerMaster(tmp_path)
    master.hear_nodes()
    ran = master.run("k3sfw.test", f"new={tmp_path}")
    assert ran.code == 1
    assert ran.data["problems"][0].endswith(f"Fix: give {tmp_path}/site")


def test_a_candidate_is_compiled_with_other_environments_and_what_is_left_out_is_told(tmp_path):
    stage = tmp_path / "stage"
    stage.mkdir()
    (stage / "top.sls").write_text(json.dumps({"stage": {"*": ["groups"]}}))
    groups = {"k3s": {"groups": {"admins": ["198.51.100.0/28"]}}}
    (stage / "groups.sls").write_text(json.dumps(groups))
    roots = {"base": [str(tmp_path / "site"), str(PILLAR)], "stage": [str(stage)]}
    git = [{"git": [{"main https://x:secret@git.example/site": [{"env": "base"}]}]}]
    master = RunnerMaster(tmp_path, pillar_roots=roots, ext_pillar=git)
    master.hear_nodes()
    by_admins = {"ports": {"manager": {"grafana": {"source": "admins"}}}}
    ran = master.run("k3sfw.test", f"new={master.folder_with('candidate', by_admins)}")
    assert ran.code == 0
    notes = " ".join(ran.data["notes"])
    assert "git pillar main https://git.example/site" in notes
    assert "pillar environment stage" in notes
