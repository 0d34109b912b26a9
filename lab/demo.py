"""The main job, shown: ``python -m lab.demo`` raises a lab, applies the tables, sends packets.

Every step is printed as the command that a reader would type.
"""

from __future__ import annotations

import sys

from lab.__main__ import DEFAULT_NAME
from lab.cluster import Lab
from lab.errors import LabError
from lab.host import Host

SERVERS = ("s1", "s2", "s3")

# Etcd keeps its data on the host that it runs on; the peers know each other from the start.
ETCD = (
    "etcd --name {name} --data-dir /var/lib/etcd-demo --log-level error "
    "--listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://{address}:2379 "
    "--listen-peer-urls http://0.0.0.0:2380 --initial-advertise-peer-urls http://{address}:2380 "
    "--initial-cluster {peers}"
)
REDIS = ("redis-server", "--bind", "*", "--protected-mode", "no", "--save", "")

CONNECT = """
import errno, socket, sys
address, port = sys.argv[1], int(sys.argv[2])
try:
    socket.create_connection((address, port), timeout=5).close()
    print("open")
except OSError as error:
    print(f"refused ({errno.errorcode.get(error.errno or 0, error)})")
"""


def main() -> int:
    """Run the demonstration; the lab stands afterwards."""
    try:
        lab = _standing_lab()
        _step(lab, "saltutil.sync_all", quiet=True)
        _step(lab, "saltutil.refresh_pillar", "wait=True", quiet=True)
        _step(lab, "state.apply", "k3s.firewall", "--state-output=terse")
        print("\nReal services: etcd on the servers, redis on a1.", flush=True)
        _start_services(lab)
        _step(lab, "k3sfw.check_ports")
        print("\nPackets, each over a new connection:")
        for source, target, port in (
            ("s2", "s1", 2379),
            ("a1", "s1", 2379),
            ("out", "a1", 6379),
            ("out", "s1", 6443),
        ):
            verdict = _connect(lab.host(source), lab.host(target), port)
            print(f"  {source:4}-> {target}:{port:<6}{verdict}")
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        """
Go on exploring (the lab stands until you stop it):
  . .venv/bin/activate
  python -m lab salt s1 k3sfw.explain source=192.0.2.21 port=2379
  python -m lab salt a1 k3sfw.script --out=newline_values_only
  python -m lab exec s1 firewall-cmd --policy=k3s-rows --list-rich-rules
  python -m lab hosts
Stop it:
  make stop"""
    )
    return 0


def _standing_lab() -> Lab:
    try:
        return Lab.attach(DEFAULT_NAME)
    except LabError:
        return Lab(DEFAULT_NAME, say=lambda text: print(text, flush=True)).up()


def _step(lab: Lab, *words: str, quiet: bool = False) -> None:
    print(f"\n$ python -m lab salt '*' {' '.join(words)}", flush=True)
    done = lab.salt("*", *words)
    # check_ports gives a return code of its own to whom it warns; that is no failure.
    failed = "Traceback" in done.stdout or not done.stdout.strip()
    if failed:
        raise LabError(f"salt '*' {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    print("  done" if quiet else done.stdout.rstrip())


def _start_services(lab: Lab) -> None:
    peers = ",".join(f"{name}=http://{lab.host(name).ipv4}:2380" for name in SERVERS)
    for name in SERVERS:
        host = lab.host(name)
        command = ETCD.format(name=name, address=host.ipv4, peers=peers)
        _start_once(host, "etcd", command.split(), 2379)
    _start_once(lab.host("a1"), "redis-server", list(REDIS), 6379)


def _start_once(host: Host, program: str, argv: list[str], port: int) -> None:
    if program not in [process.name for process in host.processes()]:
        host.spawn(argv, f"/var/log/{program}.out")
    host.run(["sh", "-c", f"until ss -Hltn sport = :{port} | grep -q .; do sleep 0.1; done"])


def _connect(source: Host, target: Host, port: int) -> str:
    return source.run([sys.executable, "-c", CONNECT, target.ipv4, str(port)]).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
