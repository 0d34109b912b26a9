"""Copies of our files: a killed run leaves the old ones or the new ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.file_copies import keep, kept, known
from k3sfw_engine.model.firewall_objects import Kind

ROWS = Path("/etc/firewalld/policies/k3s-rows.xml")
NODES = Path("/etc/firewalld/ipsets/k3s-node-4.xml")
OLD = {ROWS: b"<policy/>", NODES: b"\xff\x00 not text"}
NEW = {ROWS: b"<policy>changed</policy>"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "k3sfw/files"


def test_the_copies_are_exactly_the_files_that_were_stored(folder):
    assert kept(folder) == {}
    keep(OLD, folder)
    assert kept(folder) == OLD
    keep({**NEW, NODES: None}, folder)
    assert kept(folder) == NEW


def test_only_root_can_read_the_copies(folder):
    keep(OLD, folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_the_same_copies_are_not_written_again(folder):
    keep(OLD, folder)
    (file,) = folder.iterdir()
    before = file.stat()
    keep(dict(reversed(OLD.items())), folder)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_without_copies_no_folder_is_left(folder, tmp_path):
    keep(OLD, folder)
    keep({}, folder)
    keep({}, folder)
    assert list(tmp_path.iterdir()) == []


def test_other_files_in_the_folder_stay(folder):
    keep(OLD, folder)
    (folder.parent / "journal").touch()
    keep({}, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["journal"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_killed_run_leaves_the_old_copies(folder, monkeypatch, call):
    def killed(*_arguments):
        raise Killed

    keep(OLD, folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, killed)
        with pytest.raises(Killed):
            keep(NEW, folder)
    assert kept(folder) == OLD
    keep(NEW, folder)
    assert kept(folder) == NEW


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"files": []}', b'{"files": {"/a": "?"}}', b'{"files": {"/a": 1}}'],
)
def test_copies_that_cannot_be_read_are_rewritten(folder, content):
    keep(OLD, folder)
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert kept(folder) == {}
    keep(OLD, folder)
    assert kept(folder) == OLD


def test_copies_left_by_a_killed_run_are_overwritten(folder):
    folder.mkdir(parents=True)
    (folder / "set.json.new").write_bytes(b"half of")
    keep(OLD, folder)
    assert kept(folder) == OLD
    assert os.listdir(folder) == ["set.json"]


def test_copies_that_cannot_be_written_are_reported_with_the_fix(tmp_path):
    (tmp_path / "k3sfw").touch()
    with pytest.raises(EngineError, match=r"cannot be kept .*Fix: "):
        keep(OLD, tmp_path / "k3sfw/files")


def test_an_object_is_known_if_there_is_a_copy_of_its_file(folder):
    keep(OLD, folder)
    asked = [(Kind.POLICY, "k3s-rows"), (Kind.ZONE, "k3s-rows"), (Kind.POLICY, "k3s-other")]
    assert known(asked, folder) == {(Kind.POLICY, "k3s-rows")}
    assert known([], folder) == frozenset()
