"""Processes of hosts that wait for peers, or that are the peers: see ``held_sockets``."""

import sys
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from tests.ssh_sessions import ended

_PROGRAM = Path(__file__).with_name("held_sockets.py")


@contextmanager
def process(host, *arguments, name="exporter", inside=()):
    """A process of this name with sockets, for the block.

    inside
        What goes before its command, to run it in a pod.
    """
    # Linux names a process after its executable file.
    link = host.path(f"/run/{name}")
    if not link.exists():
        link.symlink_to(sys.executable)
    command = [*inside, f"/run/{name}", str(_PROGRAM), *arguments]
    with ended(host.popen(command, stdout=PIPE)) as started:
        assert started.stdout.readline() == "ready\n"
        yield


@contextmanager
def served(host, client, *places, name="exporter"):
    """A process that waits at these places, and a client that uses all of them."""
    with (
        process(host, "wait", *places, name=name),
        process(client, "reach", host.ipv4, *places),
    ):
        yield
