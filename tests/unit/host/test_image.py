"""Whether this is an image, as the engine and the grain ask it."""

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


@pytest.mark.parametrize("value", ["0", "no", ""])
def test_systemd_offline_does_not_make_a_chroot_a_running_system(is_image, processes, value):
    first_process(processes, processes)
    assert is_image({"SYSTEMD_OFFLINE": value}, processes)


def test_a_root_on_which_nothing_is_mounted_is_an_image(is_image, processes):
    assert not is_image({}, processes)
    (processes / "self/mountinfo").write_text(PROC)
    assert is_image({}, processes)


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
