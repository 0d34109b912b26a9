"""The page is written as a whole, and whatever forbids it is said before any node is asked."""

from __future__ import annotations

import json
import os

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.master.report import NoReport, report
from tests.page_files import FOLDER
from tests.simulated_fleet import Fault, simulated_fleet


def source(name):
    return (FOLDER / name).read_text()


def nothing_asked():
    raise AssertionError("a node was asked")


def saved(folder, cluster, name="answers.json"):
    file = folder / name
    file.write_text(json.dumps(cluster.as_dict()))
    return str(file)


def reasons(html, ask=nothing_asked, **options):
    with pytest.raises(EngineError) as raised:
        report(html, ask, source, **options)
    assert all(problem.fix for problem in raised.value.problems)
    return [problem.text for problem in raised.value.problems]


def test_a_page_of_what_nodes_answer_now_is_written(tmp_path):
    target = tmp_path / "page.html"
    found = report(str(target), lambda: simulated_fleet(5), source)
    assert found.retcode == 0
    assert found.data["bytes"] == target.stat().st_size
    assert found.data["address"] == target.as_uri()
    assert target.read_text().startswith("<!doctype html>")
    assert os.listdir(tmp_path) == ["page.html"]


def test_saved_answers_give_the_same_page_and_no_node_is_asked(tmp_path):
    cluster = simulated_fleet(5, [Fault("rejects", "a1", "8472")])
    one, other = tmp_path / "one.html", tmp_path / "other.html"
    report(str(one), lambda: cluster, source)
    report(str(other), nothing_asked, source, saved=saved(tmp_path, cluster))
    assert one.read_bytes() == other.read_bytes()


def test_older_answers_are_compared(tmp_path):
    before = saved(tmp_path, simulated_fleet(5, [Fault("setting", "a1")]))
    target = tmp_path / "page.html"
    report(str(target), lambda: simulated_fleet(5), source, previous=before)
    assert "Fixed: 1 problem" in target.read_text()


def test_every_reason_is_told_at_once_before_a_node_is_asked(tmp_path):
    (tmp_path / "bad.json").write_text('{"format": 99}')
    found = reasons(
        str(tmp_path), saved=str(tmp_path / "missing"), previous=str(tmp_path / "bad.json")
    )
    assert [text.partition("=")[0] for text in found] == ["html", "from", "previous"]


@pytest.mark.parametrize("html", [None, "", 5, True, "missing/folder/page.html"])
def test_what_is_not_a_file_is_refused(html, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(reasons(html)) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"format": 2}', b"<html>"])
def test_a_file_without_answers_is_refused(content, tmp_path):
    file = tmp_path / "answers.json"
    file.write_bytes(content)
    (text,) = reasons(str(tmp_path / "page.html"), saved=str(file))
    assert text.startswith(f"from={file}")


def test_answers_of_another_cluster_are_not_compared(tmp_path):
    other = simulated_fleet(5).as_dict() | {"cluster": "another"}
    file = tmp_path / "other.json"
    file.write_text(json.dumps(other))
    (text,) = reasons(str(tmp_path / "page.html"), lambda: simulated_fleet(5), previous=str(file))
    assert "another" in text


def test_files_of_another_version_are_told(tmp_path):
    def newer(name):
        return source(name) + ("{{ page.from_the_future.text }}" if name == "page.html" else "")

    with pytest.raises(NoReport) as raised:
        report(str(tmp_path / "page.html"), lambda: simulated_fleet(5), newer)
    assert raised.value.problems[0].fix == "salt-run saltutil.sync_all"
    assert os.listdir(tmp_path) == []


def test_a_link_is_followed_and_a_private_file_stays_private(tmp_path):
    target, link = tmp_path / "page.html", tmp_path / "link.html"
    target.write_text("older")
    target.chmod(0o600)
    link.symlink_to(target)
    report(str(link), lambda: simulated_fleet(5), source)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text() != "older"


def test_a_full_disk_leaves_the_older_page(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("older")

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    (text,) = reasons(str(target), lambda: simulated_fleet(5))
    assert "No space left" in text
    assert target.read_text() == "older"
    assert os.listdir(tmp_path) == ["page.html"]
