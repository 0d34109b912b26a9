"""salt-run k3sfw.report on a master that has only what Salt synced, and the exit codes of it."""

from __future__ import annotations

import json

import pytest

from tests.cluster import other_salt
from tests.page_files import page_of
from tests.selection import exhaustive
from tests.simulated_fleet import Fault, simulated_fleet
from tests.unit.salt.salt_run import RunnerMaster

NOW = simulated_fleet(5, [Fault("rejects", "a1", "8472")])
BEFORE = simulated_fleet(5, [Fault("setting", "a1")])


@pytest.fixture(scope="module", params=["3008", exhaustive("3007"), exhaustive("3006")])
def master(request, tmp_path_factory):
    python = other_salt.programs(request.param) / "python"
    return RunnerMaster(tmp_path_factory.mktemp("master"), python)


@pytest.fixture
def answers(tmp_path):
    for name, cluster in (("now.json", NOW), ("before.json", BEFORE)):
        (tmp_path / name).write_text(json.dumps(cluster.as_dict()))
    return tmp_path


def test_a_synced_master_takes_the_page_from_its_file_server(master, answers):
    synced = master.folder.glob("**/extmods/utils/k3sfw_engine/fleet/page/*")
    assert {path.suffix for path in synced} & {".html", ".css", ".js"} == set()
    html, files = answers / "page.html", [f"from={answers}/now.json"]
    ran = master.run("k3sfw.report", f"html={html}", *files)
    assert ran.code == 0, ran.text
    assert (ran.data["path"], ran.data["bytes"]) == (str(html), html.stat().st_size)
    assert html.read_text() == page_of(NOW)


def test_older_answers_are_named_on_the_command_line(master, answers):
    html = answers / "page.html"
    files = [f"from={answers}/now.json", f"previous={answers}/before.json"]
    assert master.run("k3sfw.report", f"html={html}", *files).code == 0
    assert html.read_text() == page_of(NOW, BEFORE)


def test_the_text_names_the_address_that_opens_the_page(master, answers):
    html = answers / "page.html"
    ran = master.run("k3sfw.report", f"html={html}", f"from={answers}/now.json", form="")
    assert ran.code == 0
    assert html.as_uri() in ran.text


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("html={folder}",),
        ("html={folder}/missing/page.html",),
        ("html={folder}/page.html", "from={folder}/missing.json"),
        ("html={folder}/page.html", "from={folder}/now.json", "previous=/etc/hostname"),
        ("html={folder}/page.html", "form={folder}/now.json"),
    ],
)
def test_what_cannot_be_written_or_read_exits_with_1_and_a_fix(master, answers, words):
    ran = master.run("k3sfw.report", *(word.format(folder=answers) for word in words))
    assert ran.code == 1
    assert all("Fix: " in problem for problem in ran.data["problems"])
    assert not (answers / "page.html").exists()
