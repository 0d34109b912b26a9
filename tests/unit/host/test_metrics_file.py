"""The file of metrics is replaced as a whole or not at all, also by a run that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from k3sfw_engine.host.metrics_file import METRICS_FILE, remove_metrics_file, write_metrics_file
from tests.paths import ROOT

# Killed at the last moment at which it matters: all is written, and nothing is in its place.
KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
from k3sfw_engine.host import metrics_file
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
metrics_file.write_metrics_file(pathlib.Path(sys.argv[2]), "new\\n")
"""


def test_the_file_is_readable_by_the_collector_whatever_the_umask_is(tmp_path):
    before = os.umask(0o077)
    try:
        path = write_metrics_file(tmp_path, "k3sfw 1\n")
    finally:
        os.umask(before)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("k3sfw 1\n", 0o644)
    assert [each.name for each in tmp_path.iterdir()] == [METRICS_FILE]


def test_a_killed_run_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path):
    write_metrics_file(tmp_path, "old\n")
    command = [sys.executable, "-c", KILLED, str(ROOT / "_utils"), str(tmp_path)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    left = [each.name for each in tmp_path.iterdir() if each.name != METRICS_FILE]
    assert (tmp_path / METRICS_FILE).read_text() == "old\n"
    # The collector reads every file whose name ends so.
    assert len(left) == 1 and not left[0].endswith(".prom")
    write_metrics_file(tmp_path, "new\n")
    assert [each.name for each in tmp_path.iterdir()] == [METRICS_FILE]
    assert (tmp_path / METRICS_FILE).read_text() == "new\n"


def test_a_link_that_waits_under_the_name_is_never_followed(tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("precious")
    folder.mkdir()
    (folder / f".{METRICS_FILE}.{os.getpid()}").symlink_to(victim)
    (folder / METRICS_FILE).symlink_to(victim)
    write_metrics_file(folder, "new\n")
    assert victim.read_text() == "precious"
    assert not (folder / METRICS_FILE).is_symlink()


def test_a_missing_folder_is_not_created(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_metrics_file(tmp_path / "missing", "new\n")
    assert list(tmp_path.iterdir()) == []


def test_a_removal_leaves_nothing_of_ours_and_all_of_others(tmp_path):
    write_metrics_file(tmp_path, "new\n")
    (tmp_path / f".{METRICS_FILE}.4711").write_text("left")
    (tmp_path / "other.prom").write_text("theirs")
    assert remove_metrics_file(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["other.prom"]
    assert not remove_metrics_file(tmp_path)
    assert not remove_metrics_file(tmp_path / "missing")
