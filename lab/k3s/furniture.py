"""The files by which a host is a K3s node, as installers and roles leave them, and K3s itself.

Writes nothing: it returns what is to be written. Flannel's own files are written where the overlay
is made (``lab.k3s.flannel``).

https://github.com/k3s-io/k3s/blob/master/install.sh (create_systemd_service_file,
create_openrc_service_file), https://github.com/PyratLabs/ansible-role-k3s,
https://github.com/techno-tim/k3s-ansible, nixpkgs' services.k3s, and Alpine's package k3s
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.spec import HostSpec, Installation

CONFIGURATION = "etc/rancher/k3s/config.yaml"
UNITS = "etc/systemd/system"
# A host of the lab has no /nix of its own.
NIX_STORE = "var/nix/store/x0-k3s"
SERVING_CERTIFICATE = "agent/serving-kubelet.crt"
TOKEN = "K10lab::server:lab"  # noqa: S105 # a stand-in
API_PORT = 6443


@dataclass(frozen=True)
class File:
    """One file below ``/``, or a link if it has a target."""

    path: str
    content: str = ""
    mode: int = 0o644
    target: str = ""


@dataclass(frozen=True)
class _Told:
    """What K3s is told on a node: its command, flags and environment."""

    role: str
    service: str
    flags: tuple[str, ...]
    environment: tuple[str, ...]


def files(spec: HostSpec, everyone: Iterable[HostSpec]) -> list[File]:
    """Every file of a node before K3s is started again: of its installer and of K3s."""
    servers = [each for each in everyone if each.role == "server" and each != spec]
    told = _told(spec, servers)
    return [
        *_WAYS[spec.installation.way](told, spec.installation.config_file),
        *_records(spec, servers),
    ]


def node_ips(spec: HostSpec) -> list[str]:
    """The addresses that K3s advertises, by its flags; without them those of eth0."""
    given = _values(spec, "--node-ip")
    if _values(spec, "--vpn-auth"):
        given = _addresses_of(spec, "tailscale0")
    return [*(given or _addresses_of(spec, "eth0")), *_values(spec, "--node-external-ip")]


def _addresses_of(spec: HostSpec, name: str) -> list[str]:
    (found,) = [card.addresses for card in spec.all_cards if card.name == name]
    return [address.partition("/")[0] for address in found]


def data_folder(spec: HostSpec) -> str:
    """K3s's data folder, below ``/``."""
    return spec.installation.data_dir.lstrip("/")


def service_of(spec: HostSpec) -> str:
    """The name of the unit, which some ways make the same for both roles."""
    if spec.installation.service:
        return spec.installation.service
    if spec.role == "server" or spec.installation.way in ("PyratLabs", "NixOS", "Alpine"):
        return "k3s"
    return "k3s-node" if spec.installation.way == "techno-tim" else "k3s-agent"


def _values(spec: HostSpec, name: str) -> list[str]:
    given = [flag.partition("=") for flag in _flags(spec)]
    return [each for flag, _, value in given if flag == name for each in value.split(",")]


def _flags(spec: HostSpec) -> tuple[str, ...]:
    if spec.installation.flags is None:
        return (f"--node-ip={spec.ipv4},{spec.ipv6}",)
    return spec.installation.flags


def _told(spec: HostSpec, servers: list[HostSpec]) -> _Told:
    flags, environment = list(_flags(spec)), [f"K3S_TOKEN='{TOKEN}'"]
    if spec.role == "agent":
        environment.append(f"K3S_URL='{_url(servers)}'")
    elif servers and servers[0].number < spec.number:
        flags.append(f"--server={_url(servers)}")
    else:
        flags.append("--cluster-init")
    if spec.installation.config_file not in ("", f"/{CONFIGURATION}"):
        environment.append(f"K3S_CONFIG_FILE='{spec.installation.config_file}'")
    if spec.installation.data_dir != Installation().data_dir:
        flags.append(f"--data-dir={spec.installation.data_dir}")
    return _Told(spec.role, service_of(spec), tuple(flags), tuple(sorted(environment)))


def _url(servers: list[HostSpec]) -> str:
    """The server that a node joined by; a lone agent joined one that is not in the lab."""
    return f"https://{_known_by(servers[0]) if servers else '192.0.2.11'}:{API_PORT}"


def _known_by(spec: HostSpec) -> str:
    """The address at which a server is asked: the external one if there is one."""
    return [*_values(spec, "--node-external-ip"), *node_ips(spec)][0]


def _by_installer(told: _Told, config_file: str) -> Iterator[File]:
    unit = f"/{UNITS}/{told.service}.service"
    flags = () if config_file else told.flags
    lines = [f"/usr/local/bin/k3s \\\n    {told.role}", *(f"\t'{flag}'" for flag in flags)]
    # The installer leaves a continuation behind the last argument, and an empty line.
    command = " \\\n".join(lines) + " \\\n\n"
    environment = "".join(
        f"EnvironmentFile=-{file}\n"
        for file in ("/etc/default/%N", "/etc/sysconfig/%N", f"{unit}.env")
    )
    yield from _unit(told, unit, f"{environment}ExecStart={command}")
    yield _environment_file(told, f"{unit}.env")
    yield from _config_file(told, config_file)


def _by_installer_on_openrc(told: _Told, config_file: str) -> Iterator[File]:
    flags = () if config_file else told.flags
    words = " \\\n".join([told.role, *(f"\t'{flag}'" for flag in flags)])
    variables = f"/etc/rancher/k3s/{told.service}.env"
    yield File(
        f"etc/init.d/{told.service}",
        "#!/sbin/openrc-run\n\nsupervisor=supervise-daemon\n"
        f'name={told.service}\ncommand="/usr/local/bin/k3s"\n'
        f'command_args="{words} \\\n    >>/var/log/{told.service}.log 2>&1"\n\n'
        "set -o allexport\nif [ -f /etc/environment ]; then . /etc/environment; fi\n"
        f"if [ -f {variables} ]; then . {variables}; fi\nset +o allexport\n",
        0o755,
    )
    yield _runlevel(told)
    yield _environment_file(told, variables)
    yield from _config_file(told, config_file)


def _by_pyratlabs(told: _Told, config_file: str) -> Iterator[File]:
    path = config_file or f"/{CONFIGURATION}"
    yield from _unit(
        told,
        f"/{UNITS}/{told.service}.service",
        f"ExecStart=/usr/local/bin/k3s {told.role} --config {path}\n",
    )
    yield from _config_file(_joined_by_flags(told), path)


def _by_techno_tim(told: _Told, _config_file: str) -> Iterator[File]:
    words = " ".join(["/usr/local/bin/k3s", told.role, *_joined_by_flags(told).flags])
    yield from _unit(told, f"/{UNITS}/{told.service}.service", f"ExecStart={words}\n")


def _by_nixos(told: _Told, _config_file: str) -> Iterator[File]:
    flags = _joined_by_flags(told).flags
    words = " \\\n ".join([f"/{NIX_STORE}/bin/k3s {told.role}", *flags])
    unit = f"/{NIX_STORE}/{told.service}.service"
    first, *links = _unit(told, unit, f"ExecStart={words}\n")
    yield first
    yield File(f"{UNITS}/{told.service}.service", target=unit)
    yield from links


def _by_alpine(told: _Told, _config_file: str) -> Iterator[File]:
    yield File(
        f"etc/init.d/{told.service}",
        '#!/sbin/openrc-run\n\nsupervisor=supervise-daemon\nname="k3s"\n'
        'command="/usr/bin/k3s"\n'
        'command_args="${K3S_EXEC} ${K3S_OPTS} >>${K3S_LOGFILE} 2>&1"\n',
        0o755,
    )
    yield File(
        f"etc/conf.d/{told.service}",
        '# k3s options\nexport PATH="/usr/libexec/cni/:$PATH"\n'
        f'K3S_EXEC="{told.role}"\nK3S_OPTS="{" ".join(_joined_by_flags(told).flags)}"\n',
    )
    yield _runlevel(told)


_WAYS = {
    "install.sh": _by_installer,
    "install.sh on OpenRC": _by_installer_on_openrc,
    "PyratLabs": _by_pyratlabs,
    "techno-tim": _by_techno_tim,
    "NixOS": _by_nixos,
    "Alpine": _by_alpine,
}


def _joined_by_flags(told: _Told) -> _Told:
    """The same without an environment: these ways write flags for all of it."""
    names = {"K3S_URL": "--server", "K3S_TOKEN": "--token"}
    split = [variable.partition("=") for variable in told.environment]
    more = tuple(f"{names[name]}={value[1:-1]}" for name, _, value in split if name in names)
    return _Told(told.role, told.service, (*told.flags, *more), ())


def _unit(told: _Told, path: str, command: str) -> Iterator[File]:
    kind = "notify" if told.role == "server" else "exec"
    yield File(
        path.lstrip("/"),
        "[Unit]\nDescription=Lightweight Kubernetes\nDocumentation=https://k3s.io\n"
        "Wants=network-online.target\nAfter=network-online.target\n\n"
        "[Install]\nWantedBy=multi-user.target\n\n"
        f"[Service]\nType={kind}\nKillMode=process\nDelegate=yes\nUser=root\n"
        "TimeoutStartSec=0\nRestart=always\nRestartSec=5s\n"
        "ExecStartPre=-/sbin/modprobe br_netfilter\n"
        f"ExecStartPre=-/sbin/modprobe overlay\n{command}",
    )
    yield File(f"{UNITS}/multi-user.target.wants/{told.service}.service", target=path)


def _runlevel(told: _Told) -> File:
    return File(f"etc/runlevels/default/{told.service}", target=f"/etc/init.d/{told.service}")


def _environment_file(told: _Told, path: str) -> File:
    return File(path.lstrip("/"), "".join(f"{each}\n" for each in told.environment), 0o600)


def _config_file(told: _Told, path: str) -> Iterator[File]:
    if path:
        pairs = [flag.removeprefix("--").partition("=") for flag in told.flags]
        lines = [f"{name}: {json.dumps(value) if value else 'true'}\n" for name, _, value in pairs]
        yield File(path.lstrip("/"), "".join(lines), 0o600)


def _records(spec: HostSpec, servers: list[HostSpec]) -> Iterator[File]:
    """What K3s itself wrote; its certificate is not among them, as a program must make that."""
    data = data_folder(spec)
    known = [_known_by(each) for each in servers] or ["192.0.2.11"]
    balancer = {
        "ServerURL": f"https://{known[0]}:{API_PORT}",
        "ServerAddresses": [f"{address}:{API_PORT}" for address in known],
    }
    if spec.role == "agent":
        path = f"{data}/agent/etc/k3s-agent-load-balancer.json"
        yield File(path, json.dumps(balancer, indent=2), 0o600)
        return
    yield File(f"{data}/server/token", f"{TOKEN}\n", 0o600)
    yield File(f"{data}/server/db/etcd/config", _etcd_configuration(spec), 0o600)


def _etcd_configuration(spec: HostSpec) -> str:
    """What K3s tells its etcd, as far as it is about addresses.

    https://github.com/k3s-io/k3s/blob/master/pkg/etcd/etcd.go (etcd.cluster)
    """
    own = node_ips(spec)[0]
    return (
        f"advertise-client-urls: https://{own}:2379\n"
        f"data-dir: /{data_folder(spec)}/server/db/etcd\n"
        f"listen-client-urls: https://127.0.0.1:2379,https://{own}:2379\n"
        "listen-metrics-urls: http://127.0.0.1:2381\n"
        f"listen-peer-urls: https://127.0.0.1:2380,https://{own}:2380\n"
        f"name: {spec.name}-1a2b3c4d\n"
    )
