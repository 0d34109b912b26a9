"""Whenever the power goes, the disk has the way back of every file that it has changed.

A disk is pictured that loses all it can: of a file it has what was last synced, and of a folder the
names that it had when it was synced. The lab's power cuts keep the machine's cache, so they cannot
show a missing sync.
"""

from __future__ import annotations

import os
import stat
import threading

import pytest

from k3sfw_engine.firewalld import permanent
from k3sfw_engine.standalone.undo.record import read_record
from k3sfw_engine.standalone.undo.step_log import RELOAD, RUNTIME, lines, was_kept
from k3sfw_engine.transaction import journal
from tests.unit.records import NOTHING_CHANGED, use_state_folder


class Disk:
    """What is left of a folder after a power cut, at any moment."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.contents, self.names = {}, {}
        # An inode that is given back could be used again, for something that was never synced.
        self.held = []
        self.moments = []
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            self._sync(os.open(folder, os.O_RDONLY))
        for path in root.rglob("*"):
            if path.is_file():
                self._sync(os.open(path, os.O_RDONLY))
        self._watch(monkeypatch)

    def _watch(self, monkeypatch):
        sync = os.fsync

        # Some are synced beside each other.
        lock = threading.Lock()

        def fsync(descriptor):
            with lock:
                self.moments.append(self.after_power_cut())
                sync(descriptor)
                self._sync(os.dup(descriptor))
                self.moments.append(self.after_power_cut())

        monkeypatch.setattr(os, "fsync", fsync)

    def _sync(self, descriptor):
        self.held.append(descriptor)
        found = os.fstat(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if stat.S_ISDIR(found.st_mode):
            entries = {each.name: each.inode() for each in os.scandir(path)}
            for each in os.scandir(path):
                self.held.append(os.open(each.path, os.O_RDONLY))
            self.names[found.st_ino] = entries
        else:
            with open(path, "rb") as file:
                self.contents[found.st_ino] = file.read()

    def after_power_cut(self):
        """The contents of all files by path."""
        return dict(self._files(self.root.stat().st_ino, ""))

    def _files(self, folder, path):
        for name, inode in self.names[folder].items():
            if inode in self.names:
                yield from self._files(inode, f"{path}/{name}")
            else:
                yield f"{path}/{name}", self.contents.get(inode, b"")


OLD, NEW = b"<policy>old</policy>", b"<policy>new</policy>"


@pytest.fixture
def disk(tmp_path, monkeypatch):
    root = tmp_path / "disk"
    (root / "etc").mkdir(parents=True)
    (root / "etc/one.xml").write_bytes(OLD)
    (root / "state/history").mkdir(parents=True)
    use_state_folder(monkeypatch, root / "state")
    return Disk(root, monkeypatch)


def put(disk, content=NEW):
    permanent.put_files({disk.root / "etc/one.xml": content})


def change_at_runtime(begun, disk):
    begun.note(RUNTIME)
    begun.note(journal.PERMANENT)
    put(disk)


def change_with_a_reload(begun, disk):
    begun.note("files")
    put(disk)
    begun.note(RELOAD)
    put(disk, OLD)
    begun.note(RUNTIME)
    begun.note(journal.PERMANENT)
    put(disk)


def change_of_files(begun, disk):
    begun.note(journal.PERMANENT)
    put(disk)


@pytest.mark.parametrize("change", [change_at_runtime, change_with_a_reload, change_of_files])
def test_no_changed_file_survives_without_its_way_back(disk, tmp_path, change):
    begun = journal.begin(NOTHING_CHANGED)
    change(begun, disk)
    begun.keep()
    disk.moments.append(disk.after_power_cut())
    assert len(disk.moments) > 10
    for number, moment in enumerate(disk.moments):
        folder = restored(moment, tmp_path / str(number))
        content = moment["/etc/one.xml"]
        # A record that was cut short would raise.
        record = read_record(folder)
        assert content in (OLD, NEW)
        assert content == OLD or (record is not None and record.id == begun.name)
        if was_kept(folder):
            assert content == NEW
    assert was_kept(folder)


def test_where_files_have_changed_it_is_known_that_the_runtime_may_have(disk, tmp_path):
    begun = journal.begin(NOTHING_CHANGED)
    change_at_runtime(begun, disk)
    moments = [each for each in disk.moments if each["/etc/one.xml"] == NEW]
    assert moments
    for number, moment in enumerate(moments):
        folder = restored(moment, tmp_path / str(number))
        assert RUNTIME in [line["step"] for line in lines(folder)]


def restored(moment, folder):
    """A folder with what is left of the transaction."""
    for path, content in moment.items():
        if path.startswith("/state/transaction/"):
            (folder / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.lstrip("/")).write_bytes(content)
    return str(folder / "state/transaction")


def test_the_disk_of_this_test_loses_what_is_not_synced(disk):
    (disk.root / "etc/two.xml").write_bytes(NEW)
    (disk.root / "etc/one.xml").write_bytes(NEW)
    assert disk.after_power_cut() == {"/etc/one.xml": OLD}
    descriptor = os.open(disk.root / "etc", os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    assert disk.after_power_cut() == {"/etc/one.xml": OLD, "/etc/two.xml": b""}
