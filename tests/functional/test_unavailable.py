"""Without a usable firewalld, bus or nft: one sentence with its fix, and no change."""

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from lab.errors import LabError


def not_running(node):
    node.host.stop_firewalld()


def not_installed(node):
    node.host.stop_firewalld()
    node.run("mount", "-t", "tmpfs", "tmpfs", "/usr/local/sbin")
    node.run("sh", "-c", "cp -a /usr/sbin /run/sbin; rm /run/sbin/firewalld")
    node.run("mount", "--bind", "/run/sbin", "/usr/sbin")


def masked(node):
    node.host.stop_firewalld()
    node.run("mount", "-t", "tmpfs", "tmpfs", "/etc/systemd/system")
    node.path("/etc/systemd/system/firewalld.service").symlink_to("/dev/null")


def failed(node):
    node.host.stop_firewalld()
    node.path("/etc/firewalld/zones/broken.xml").write_text(
        "<zone><service name='nonesuch'/></zone>"
    )
    try:
        node.host.start_firewalld(state="FAILED")
    except LabError:
        if node.run("firewall-cmd", "--state", check=False).strip() != "running":
            raise
        pytest.skip("this firewalld starts without a file that it cannot load")


def frozen(node):
    node.freeze_firewalld()


def panic(node):
    node.firewall_cmd("--panic-on")


def bus_frozen(node):
    node.host.kill("dbus-daemon", signal.SIGSTOP)


def bus_gone(node):
    node.host.kill("dbus-daemon", 9)
    node.path("/run/dbus/system_bus_socket").unlink(missing_ok=True)


def nft_missing(node):
    node.run("sh", "-c", "cp -a /usr/sbin /run/sbin; rm /run/sbin/nft")
    node.run("mount", "--bind", "/run/sbin", "/usr/sbin")


CASES = [
    (not_running, "firewalld is not running. Fix: salt MINION state.apply k3s.firewall"),
    (not_installed, "firewalld is not installed. Fix: salt MINION state.apply k3s.firewall"),
    (masked, "firewalld is masked"),
    (failed, "firewalld is in state FAILED"),
    (frozen, "did not answer within 8 seconds"),
    (panic, "firewalld is in panic mode"),
    (bus_frozen, "the system D-Bus does not answer within 5 seconds"),
    (bus_gone, "the system D-Bus cannot be reached"),
    (nft_missing, "nft is not installed"),
]
STOPPED = (not_running, not_installed, masked)
FROZEN = (frozen, bus_frozen)


@pytest.mark.parametrize(("make", "sentence"), CASES, ids=[make.__name__ for make, _s in CASES])
def test_one_problem_with_its_fix_within_20_seconds_and_nothing_done(node, pillar, make, sentence):
    make(node)
    files = node.files()
    # All three ask the same way, and each waits seconds for what is frozen. The files of one
    # that is stopped can be removed.
    asked = ["apply", "compare", "remove"][: 1 if make in FROZEN else 2 if make in STOPPED else 3]
    for function in asked:
        began = time.monotonic()
        answer = node.try_call(function, None if function == "remove" else pillar)
        assert time.monotonic() - began < 20
        (refused,) = answer["refused"]
        assert sentence in refused
        assert "Fix: " in refused
        assert node.files() == files


def test_a_busy_bus_with_a_full_queue_is_waited_for(node, pillar):
    node.call("apply", pillar)
    node.host.kill("dbus-daemon", signal.SIGSTOP)
    with ThreadPoolExecutor() as beside:
        with ExitStack() as queue:
            with suppress(BlockingIOError):
                while True:
                    caller = queue.enter_context(socket.socket(socket.AF_UNIX))
                    caller.setblocking(False)
                    caller.connect(str(node.path("/run/dbus/system_bus_socket")))
            seen = beside.submit(node.call, "compare", pillar)
            time.sleep(1)
        node.host.kill("dbus-daemon", signal.SIGCONT)
        assert seen.result()["changes"] == {}


def test_a_wanted_panic_is_never_lifted(node, pillar):
    node.call("apply", pillar)
    node.firewall_cmd("--panic-on")
    node.try_call("apply", pillar)
    node.try_call("remove")
    assert node.run("firewall-cmd", "--query-panic").strip() == "yes"


def test_a_reload_that_another_owners_file_would_break_is_not_tried(node, pillar):
    broken = "<zone><service name='nonesuch'/></zone>"
    node.path("/etc/firewalld/zones/broken.xml").write_text(broken)
    before = node.everything()
    (refused,) = node.try_call("apply", pillar)["refused"]
    assert "would not load: INVALID_SERVICE" in refused
    assert "nonesuch" in refused
    assert node.everything() == before
    assert node.run("firewall-cmd", "--state", check=False) == "running\n"


def test_a_read_only_configuration_is_reported_and_nothing_is_changed(node, pillar):
    node.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/etc/firewalld/policies")
    before = node.everything()
    (refused,) = node.try_call("apply", pillar)["refused"]
    assert "cannot be written (Read-only file system: /etc/firewalld/policies" in refused
    assert node.everything() == before


def test_our_calls_do_not_start_a_stopped_firewalld(node, pillar):
    node.host.stop_firewalld()
    node.try_call("apply", pillar)
    assert "firewalld" not in [process.name for process in node.host.processes()]


def test_two_runs_at_the_same_time_wait_for_each_other(node, pillar):
    holder = node.host.popen(
        ["python3", "-c", HOLD_THE_LOCK.format(seconds=3)],
    )
    try:
        node.run("sh", "-c", "until [ -e /run/held ]; do sleep 0.02; done")
        began = time.monotonic()
        node.call("apply", pillar)
        assert time.monotonic() - began > 2
    finally:
        holder.kill()
        holder.wait()


HOLD_THE_LOCK = """
import fcntl, time
file = open("/run/k3sfw.lock", "w")
fcntl.flock(file, fcntl.LOCK_EX)
open("/run/held", "w").close()
time.sleep({seconds})
"""
