"""The services that listen on a node, one process each, under the names of the real ones.

etcd and redis are real. The others are copies of ``stand_in``: they listen and answer, no more.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from lab.host import Host
from lab.k3s import stand_in

# K3s itself listens for the API, kubelet and spegel. Its processes have these names.
K3S = {
    "server": ("k3s-server", "6443/tls", "10250/tls", "5001/tls"),
    "agent": ("k3s-agent", "10250/tls"),
}
# On every node. The ingress listens on the node itself, as where ServiceLB is disabled.
EVERYWHERE = (
    ("traefik", "80", "443/tls"),
    ("longhorn-manager", "9500", "8500"),
    ("grafana", "3000"),
    ("kafka", "9095"),
    ("alertmanager", "9093"),
    ("prometheus", "9090"),
)
REDIS = ("redis-server", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "")
REDIS_PORT = "6379"
ETCD_DATA = "server/db/etcd"
ETCD_PORTS = ("2379", "2380")
# In a pod. No row is about its port.
POD_SERVER, POD_PORT = "web", 8080
BIN = "/usr/local/bin"


def start(host: Host, servers: Sequence[Host]) -> None:
    """Start the services that do not run on a node yet, without waiting until they listen."""
    stand_ins = (K3S[host.role], *EVERYWHERE)
    _install(host, [name for name, *_ports in stand_ins])
    # By their paths: the folders of this Python may have programs of the same names.
    commands = [[f"{BIN}/{name}", *ports] for name, *ports in stand_ins] + [list(REDIS)]
    if host.role == "server":
        commands.append(_etcd(host, servers))
    here = {process.name for process in host.processes()}
    lines = [_detached(each) for each in commands if Path(each[0]).name not in here]
    host.run(["sh", "-ec", "\n".join([_CERTIFICATE, *lines])])


def start_in_pod(host: Host, inside: Sequence[str]) -> None:
    """Start a web server in a pod, unless it runs."""
    if any(process.name == POD_SERVER for process in host.processes()):
        return
    _install(host, [POD_SERVER])
    host.run(["sh", "-ec", _detached([f"{BIN}/{POD_SERVER}", str(POD_PORT)], inside)])


def stop(host: Host) -> None:
    """Kill all services of a node, and remove their files."""
    names = {name for name, *_ports in (K3S[host.role], *EVERYWHERE)}
    names |= {POD_SERVER, REDIS[0], "etcd"}
    for name in sorted(names & {process.name for process in host.processes()}):
        # Nothing of theirs is kept, so they need not save anything.
        host.kill(name, signal.SIGKILL)
    etcd = f"{host.spec.installation.data_dir}/{ETCD_DATA}"
    # Its configuration is K3s's, and stays.
    host.run(["rm", "-rf", f"{etcd}/member", *(f"{BIN}/{name}" for name in names)])


def wait(host: Host) -> None:
    """Wait until every service of a node listens."""
    ports = {each.partition("/")[0] for _name, *ports in EVERYWHERE for each in ports}
    ports |= {each.partition("/")[0] for each in K3S[host.role][1:]} | {REDIS_PORT}
    ports |= set(ETCD_PORTS) if host.role == "server" else set()
    alternatives = "|".join(sorted(ports, key=int))
    script = (
        f"until [ $(ss -Hltn | grep -oE ':({alternatives}) ' | sort -u | wc -l) = {len(ports)} ]; "
        "do sleep 0.1; done"
    )
    host.run(["sh", "-c", script], timeout=60)


def _install(host: Host, names: Sequence[str]) -> None:
    program = Path(stand_in.__file__).read_text()
    for name in names:
        # The kernel names the process of a script after its file.
        target = host.path(f"{BIN}/{name}")
        target.write_text(program)
        target.chmod(0o755)


# Key and certificate in one file, moved to its place when it is whole.
_CERTIFICATE = f"""
if ! [ -e {stand_in.CERTIFICATE} ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=k3s on $(hostname)" -keyout /run/key.pem -out /run/certificate.pem 2>/dev/null
    cat /run/key.pem /run/certificate.pem > /run/both.pem
    rm /run/key.pem /run/certificate.pem
    mv /run/both.pem {stand_in.CERTIFICATE}
fi
"""


def _detached(command: Sequence[str], inside: Sequence[str] = ()) -> str:
    """A shell command that starts a service which outlives the shell."""
    log = f"/var/log/{Path(command[0]).name}.log"
    return f"setsid --fork {shlex.join([*inside, *command])} </dev/null >>{log} 2>&1"


def _etcd(host: Host, servers: Sequence[Host]) -> list[str]:
    clients, peers = (_urls(host, port) for port in ETCD_PORTS)
    members = (f"{each.name}={url}" for each in servers for url in _urls(each, ETCD_PORTS[1]))
    return [
        "etcd",
        f"--name={host.name}",
        f"--data-dir={host.spec.installation.data_dir}/{ETCD_DATA}",
        "--log-level=error",
        f"--initial-cluster={','.join(members)}",
        f"--initial-advertise-peer-urls={','.join(peers)}",
        f"--listen-peer-urls={','.join(peers)}",
        f"--advertise-client-urls={','.join(clients)}",
        f"--listen-client-urls={','.join(clients)}",
    ]


def _urls(host: Host, port: str) -> list[str]:
    return [f"http://{host.ipv4}:{port}", f"http://[{host.ipv6}]:{port}"]
