"""Whether this is an image, as the engine and the grain ask it."""

import os
from pathlib import Path

import pytest

from _grains import _k3s_image
from k3sfw_engine.commands.heal import heal
from k3sfw_engine.commands.live_peers import live_peers
from k3sfw_engine.errors import FirewalldUnavailable
from k3sfw_engine.firewalld.dbus import Bus, firewalld_is_there
from k3sfw_engine.host import image
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.overlay import NOTHING_KNOWN
from tests.unit.host.hidden_first_process import in_chroot

MOUNTED = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
PROC = "22 21 0:5 / /proc rw - proc proc rw\n"


@pytest.fixture(params=[image.is_image, _k3s_image.is_image], ids=["engine", "grain"])
def is_image(request):
    return request.param


@pytest.fixture
def processes(tmp_path):
    """A folder in place of /proc, in which the first process may not be looked at."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(PROC + MOUNTED)
    return tmp_path


def first_process(processes: Path, root: Path) -> None:
    (processes / "1").mkdir()
    (processes / "1/root").symlink_to(root)


def test_a_running_system_is_not_an_image(is_image, processes):
    first_process(processes, Path("/"))
    assert not is_image({}, processes)


def test_another_root_than_that_of_the_first_process_is_an_image(is_image, processes):
    first_process(processes, processes)
    assert is_image({}, processes)


@pytest.mark.parametrize("value", ["1", "yes", "TRUE", "on"])
def test_systemd_offline_says_that_it_is_an_image(is_image, processes, value):
    first_process(processes, Path("/"))
    assert is_image({"SYSTEMD_OFFLINE": value}, processes)


@pytest.mark.parametrize("value", ["0", "no", "FALSE", "off"])
def test_systemd_offline_says_that_a_chroot_is_the_running_system(is_image, processes, value):
    first_process(processes, processes)
    assert not is_image({"SYSTEMD_OFFLINE": value}, processes)


@pytest.mark.parametrize("value", ["", "perhaps"])
def test_systemd_offline_without_a_meaning_says_nothing(is_image, processes, value):
    first_process(processes, processes)
    assert is_image({"SYSTEMD_OFFLINE": value}, processes)


def test_a_root_on_which_nothing_is_mounted_is_an_image(is_image, processes):
    assert not is_image({}, processes)
    (processes / "self/mountinfo").write_text(PROC)
    assert is_image({}, processes)


def test_a_process_whose_forebears_have_another_root_is_in_an_image(is_image, processes):
    for process, parent, root in (("self", "30", "/"), ("30", "20", "/"), ("20", "1", processes)):
        (processes / process).mkdir(exist_ok=True)
        (processes / process / "status").write_text(f"Name:\tsh\nPPid:\t{parent}\n")
        (processes / process / "root").symlink_to(root)
    assert is_image({}, processes)
    (processes / "20/root").unlink()
    assert not is_image({}, processes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("module", ["_grains._k3s_image", "k3sfw_engine.host.image"])
def test_a_chroot_onto_a_mounted_file_system_is_an_image_where_the_first_process_is_hidden(
    tmp_path, module
):
    assert in_chroot(tmp_path, module) == {"first process": "hidden", "image": [False, True]}


def test_a_system_without_proc_is_an_image(is_image, tmp_path):
    assert is_image({}, tmp_path / "nowhere")


def test_what_only_a_running_system_has_is_refused_in_an_image(monkeypatch):
    image.refuse_in_image()
    monkeypatch.setenv("SYSTEMD_OFFLINE", "1")
    for function in (image.refuse_in_image, live_peers, heal, Bus):
        with pytest.raises(FirewalldUnavailable, match="this is an image"):
            function()
    assert not firewalld_is_there()
    assert read_overlay() == NOTHING_KNOWN
