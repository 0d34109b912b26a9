"""Real programs of add-ons, as a cluster runs them, on the hosts of a lab: start, ask, end.

Each is asked for its own view: who is master, which members are alive, whether hands were shaken.
"""

import json
import socket
import subprocess
import sys
from contextlib import contextmanager
from subprocess import DEVNULL

from lab.wait import wait_until
from tests.ssh_sessions import ended

# -- TCP ------------------------------------------------------------------------------------------

CONNECT = """
import errno, socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as one:
        print(one.recv(100).decode() if sys.argv[3:] else "open")
except OSError as error:
    print(errno.errorcode.get(error.errno, "silence"))
"""


def connect(client, address, port):
    """``open``, or the name of the error that a new connection gets."""
    command = [sys.executable, "-I", "-S", "-c", CONNECT, address, str(port)]
    return client.run(command).stdout.strip()


def greeting(client, address, port):
    """What a service says to a new connection, or the name of an error."""
    command = [sys.executable, "-I", "-S", "-c", CONNECT, address, str(port), "listen"]
    return client.run(command).stdout.strip()


GREET = """
import socket, sys
with socket.create_server(("", int(sys.argv[1]))) as listener:
    print("listening", flush=True)
    while True:
        one = listener.accept()[0]
        one.sendall(sys.argv[2].encode())
        one.close()
"""


@contextmanager
def greeter(host, port):
    """Say the name of the host to each connection."""
    command = [sys.executable, "-I", "-S", "-c", GREET, str(port), host.name]
    with host.popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == "listening\n"
            yield
        finally:
            process.kill()


@contextmanager
def program(host, *argv):
    """Run a program on the host for the block, with its output in /run/NAME.log."""
    with (
        host.path(f"/run/{argv[0]}.log").open("w") as log,
        ended(host.popen(argv, stdin=DEVNULL, stdout=log, stderr=log)) as process,
    ):
        yield process


# -- keepalived -----------------------------------------------------------------------------------

VIRTUAL = {4: "192.0.2.200", 6: "2001:db8::200"}
INSTANCE = """
vrrp_instance ipv{family} {{
    interface eth0
    state BACKUP
    version 3
    virtual_router_id 5{family}
    priority {priority}
    advert_int 0.1
    virtual_ipaddress {{
        {addresses}
    }}
}}
"""


@contextmanager
def keepalived(host, priority):
    """One virtual address in each family; an advertisement each tenth of a second."""
    addresses = {4: f"{VIRTUAL[4]}/32", 6: f"fe80::51/64\n{VIRTUAL[6]}/128"}
    text = "".join(
        INSTANCE.format(family=family, priority=priority, addresses=addresses[family])
        for family in VIRTUAL
    )
    host.path("/run/keepalived.conf").write_text(text)
    options = ("--dont-fork", "--log-console", "--vrrp", "--use-file=/run/keepalived.conf")
    with program(host, "keepalived", *options):
        yield


def masters(family, *hosts):
    """The names of the hosts that have the virtual address."""
    return {
        host.name
        for host in hosts
        if f"inet{'6' if family == 6 else ''} {VIRTUAL[family]}/"
        in host.run(["ip", "address", "show", "dev", "eth0"]).stdout
    }


# -- serf: hashicorp/memberlist, as in MetalLB ----------------------------------------------------


@contextmanager
def serf(host):
    """A member of its own cluster, until it joins another one."""
    options = (f"-node={host.name}", f"-bind={host.ipv4}", "-profile=local")
    with program(host, "serf", "agent", *options) as process:
        wait_until(lambda: members(host), f"serf does not start on {host.name}", timeout=10)
        yield process


def join(host, other):
    """Whether the host could join the other's cluster."""
    return host.run(["serf", "join", other.ipv4], check=False).returncode == 0


def members(host):
    """The members that the host knows, each with its status."""
    done = host.run(["serf", "members", "-format=json"], check=False)
    if done.returncode:
        return {}
    return {each["name"]: each["status"] for each in json.loads(done.stdout)["members"]}


# -- haproxy --------------------------------------------------------------------------------------

HAPROXY = """
global
    stats socket /run/haproxy.sock
defaults
    mode tcp
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend api
    bind {address}:{port}
    default_backend servers
backend servers
    balance roundrobin
{servers}
"""


@contextmanager
def haproxy(host, address, port, backends, backend_port):
    """Balance a virtual address over the backends, which are asked each tenth of a second."""
    servers = "\n".join(
        f"    server {each.name} {each.ipv4}:{backend_port} check inter 100ms" for each in backends
    )
    host.path("/run/haproxy.cfg").write_text(
        HAPROXY.format(address=address, port=port, servers=servers)
    )
    host.run(["ip", "address", "add", f"{address}/32", "dev", "eth0"])
    try:
        with program(host, "haproxy", "-db", "-f", "/run/haproxy.cfg"):
            wait_until(lambda: backends_up(host) is not None, "haproxy does not start", timeout=10)
            yield
    finally:
        host.run(["ip", "address", "delete", f"{address}/32", "dev", "eth0"])


def backends_up(host):
    """The backends that answer haproxy's checks; ``None`` while it does not run."""
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(host.path("/run/haproxy.sock")))
        except OSError:
            return None
        one.sendall(b"show stat\n")
        lines = one.makefile().read().splitlines()
    rows = [line.split(",") for line in lines if line.startswith("servers,")]
    return {row[1] for row in rows if row[17] == "UP" and row[1] != "BACKEND"}


# -- WireGuard ------------------------------------------------------------------------------------

WIREGUARD_PORT = 51820
INNER = "10.9.0.{}"


@contextmanager
def wireguard(host):
    """A device wg0 with the address 10.9.0.N; yields its public key."""
    script = (
        "umask 077; wg genkey > /run/key; wg set wg0 private-key /run/key "
        f"listen-port {WIREGUARD_PORT}; rm /run/key; "
        f"ip address add {INNER.format(host.spec.number)}/24 dev wg0; ip link set wg0 up"
    )
    with program(host, "wireguard-go", "--foreground", "wg0"):
        wait_until(
            lambda: host.run(["wg", "show", "wg0"], check=False).returncode == 0,
            f"No wg0 on {host.name}",
            timeout=10,
        )
        host.run(["sh", "-ec", script])
        yield host.run(["wg", "show", "wg0", "public-key"]).stdout.strip()


def add_peer(host, key, other, *, dials):
    """Add a peer anew, so that no time-out of earlier attempts is left; ``dials`` it or waits."""
    peer = ["wg", "set", "wg0", "peer", key]
    host.run([*peer, "remove"])
    endpoint = ["endpoint", f"{other.ipv4}:{WIREGUARD_PORT}"] if dials else []
    host.run([*peer, "allowed-ips", f"{INNER.format(other.spec.number)}/32", *endpoint])


def reaches_inside(host, other):
    """Whether a connection gets any answer through the tunnel, if only a rejection."""
    return connect(host, INNER.format(other.spec.number), 22) != "silence"


def has_handshake(host):
    """Whether the one peer of the device ever answered a handshake."""
    return host.run(["wg", "show", "wg0", "latest-handshakes"]).stdout.split()[1] != "0"


# -- etcd -----------------------------------------------------------------------------------------

MAKE_CERTIFICATES = """
mkdir -p /run/pki; cd /run/pki
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $new -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
openssl req $new -subj /CN=member -keyout member.key -out member.csr
printf 'subjectAltName=%s\\nextendedKeyUsage=serverAuth,clientAuth\\n' "$1" > extensions
openssl x509 -req -in member.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile extensions -out member.pem
"""
PKI = ("ca.pem", "member.pem", "member.key")
TLS = ("--cacert=/run/pki/ca.pem", "--cert=/run/pki/member.pem", "--key=/run/pki/member.key")


def give_certificates(first, *others):
    """One certificate for all these hosts, as server and as client."""
    names = ",".join(f"IP:{host.ipv4}" for host in (first, *others))
    first.run(["sh", "-ec", MAKE_CERTIFICATES, "sh", f"{names},IP:127.0.0.1"])
    for host in others:
        host.run(["mkdir", "-p", "/run/pki"])
        for name in PKI:
            host.path(f"/run/pki/{name}").write_bytes(first.path(f"/run/pki/{name}").read_bytes())


@contextmanager
def etcd(host, members):
    """A member as K3s starts it: on node-ip and loopback, with TLS and client certificates."""
    urls = {
        name: f"https://{host.ipv4}:{port}" for name, port in (("client", 2379), ("peer", 2380))
    }
    cluster = ",".join(f"{each.name}=https://{each.ipv4}:2380" for each in members)
    options = [
        f"--name={host.name}",
        f"--data-dir=/run/etcd-{host.name}",
        f"--initial-cluster={cluster}",
        f"--initial-advertise-peer-urls={urls['peer']}",
        f"--listen-peer-urls={urls['peer']}",
        f"--advertise-client-urls={urls['client']}",
        f"--listen-client-urls={urls['client']},https://127.0.0.1:2379",
    ]
    for prefix in ("", "peer-"):
        options += [
            f"--{prefix}client-cert-auth",
            f"--{prefix}trusted-ca-file=/run/pki/ca.pem",
            f"--{prefix}cert-file=/run/pki/member.pem",
            f"--{prefix}key-file=/run/pki/member.key",
        ]
    with program(host, "etcd", *options):
        yield


def etcdctl(client, members, *words, tls=TLS):
    """What etcdctl of this host says of the members, and whether all of them are well."""
    endpoints = ",".join(f"https://{each.ipv4}:2379" for each in members)
    limits = ("--dial-timeout=1s", "--command-timeout=1s")
    command = ["etcdctl", f"--endpoints={endpoints}", *limits, *tls, *words]
    return client.run(["env", "ETCDCTL_API=3", *command], check=False)
