"""A real NetworkManager on a host of the lab."""

import signal
from contextlib import contextmanager

from lab.wait import wait_until


@contextmanager
def network_manager(host):
    """Start a real NetworkManager, which manages every existing interface."""
    conf = host.path("/etc/NetworkManager")
    (conf / "NetworkManager.conf").write_text("[main]\nplugins=keyfile\nno-auto-default=*\n")
    # Where /sys cannot be written it does not wait for a udev, of which there is none.
    host.run(["mount", "-o", "remount,ro", "/sys"])
    host.spawn(["NetworkManager", "--no-daemon"], "/var/log/NetworkManager.out")
    try:
        wait_until(lambda: "cni0" in managed(host), "NetworkManager takes nothing up", timeout=20)
        yield
    finally:
        host.kill("NetworkManager", signal.SIGKILL)
        host.run(["mount", "-o", "remount,rw", "/sys"])
        for file in (conf / "NetworkManager.conf", conf / "conf.d/zz-k3sfw.conf"):
            file.unlink(missing_ok=True)


def managed(host):
    """The interfaces that NetworkManager says it manages."""
    listed = host.run(["nmcli", "--terse", "--fields=DEVICE,STATE", "device"], check=False).stdout
    states = dict(line.rsplit(":", 1) for line in listed.splitlines())
    return {name for name, state in states.items() if state != "unmanaged"}
