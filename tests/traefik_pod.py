"""Traefik as K3s runs it: in a pod of its own, behind hostPorts 80 and 443 of the node."""

from contextlib import contextmanager

from lab.k3s.container_runtime import HostPort, running
from lab.wait import wait_until

PORTS = (HostPort(80, 8000), HostPort(443, 8443))
COMMAND = (
    "traefik",
    "--entrypoints.web.address=:8000",
    "--ping=true",
    "--ping.entrypoint=web",
)


@contextmanager
def traefik(host, network):
    """Run traefik for the block; yields its pod."""
    with running(host, "svclb-traefik", PORTS, COMMAND, network) as pod:
        wait_until(lambda: answers(host, pod.addresses[0], 8000), "traefik is silent", timeout=60)
        yield pod


def answers(client, address, port=80):
    """Whether traefik answers a client at an address."""
    url = f"http://[{address}]:{port}/ping" if ":" in address else f"http://{address}:{port}/ping"
    return client.run(["curl", "-sf", "-m", "3", url], check=False).returncode == 0
