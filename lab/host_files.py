"""The files of a new host, written before anything runs there.

Writes only to the host's folder, before it is mounted over the machine's files. On a running host,
write through ``Host.path``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path

from lab.k3s import furniture
from lab.spec import HostSpec

# Folders that start empty, whatever they hold on the machine.
EMPTY = (
    "etc/NetworkManager",
    "etc/firewalld",
    "etc/rancher",
    "etc/salt",
    "etc/systemd/system",
    "var/cache/salt",
    "var/lib/k3sfw",
    "var/lib/rancher",
    "var/log",
)
# As the package creates them.
FIREWALLD_FOLDERS = ("helpers", "icmptypes", "ipsets", "policies", "services", "zones")


def furnish(
    folder: Path, spec: HostSpec, everyone: Iterable[HostSpec], *, firewalld: bool = True
) -> None:
    """Fill the folder of a host that has not been started, as after firewalld was installed."""
    files = folder / "files"
    for name in EMPTY:
        empty(files / name)
    _write_names(files / "etc", spec, everyone)
    if firewalld:
        _stock_firewalld(files / "etc/firewalld")
    if spec.is_node:
        _k3s(files, spec, everyone)
    for name in ("salt", "pillar"):
        (folder / "srv" / name).mkdir()


def hosts_file(everyone: Iterable[HostSpec]) -> str:
    """The content of /etc/hosts, with every host of the lab."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for spec in everyone:
        lines += [f"{spec.ipv4} {spec.name}", f"{spec.ipv6} {spec.name}"]
    return "\n".join(lines) + "\n"


def empty(folder: Path) -> None:
    """Create a folder that hides the machine's folder of the same name."""
    folder.mkdir(parents=True)
    # overlayfs does not show the lower folder below one that has this attribute.
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def _write_names(etc: Path, spec: HostSpec, everyone: Iterable[HostSpec]) -> None:
    (etc / "hostname").write_text(f"{spec.name}\n")
    (etc / "hosts").write_text(hosts_file(everyone))
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    # No name servers: a lookup fails at once and does not wait for a timeout.
    (etc / "resolv.conf").write_text("")


def _stock_firewalld(target: Path) -> None:
    """Write the firewalld configuration of a newly installed package."""
    target.chmod(0o750)
    for name in FIREWALLD_FOLDERS:
        (target / name).mkdir()
    for path, digest in _package_files().items():
        # A file that was changed on this machine is left out: the defaults built into
        # firewalld are those of the package's file.
        if hashlib.md5(path.read_bytes()).hexdigest() == digest:
            shutil.copy2(path, target / path.name)


def _package_files() -> dict[Path, str]:
    listing = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Conffiles}", "firewalld"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    named = [line.split()[:2] for line in listing.splitlines() if line.strip()]
    return {
        Path(path): digest
        for path, digest in named
        if path.startswith("/etc/firewalld/") and Path(path).exists()
    }


def _k3s(files: Path, spec: HostSpec, everyone: Iterable[HostSpec]) -> None:
    """Write the files by which a host is recognised as a K3s node."""
    data = files / furniture.data_folder(spec)
    # A server is also an agent, and has both folders.
    (data / "agent").mkdir(parents=True)
    if spec.role == "server":
        (data / "server/db/etcd").mkdir(parents=True, mode=0o700)
    for each in furniture.files(spec, everyone):
        path = files / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if each.target:
            path.symlink_to(each.target)
        else:
            path.write_text(each.content)
            path.chmod(each.mode)
    _serving_certificate(data / furniture.SERVING_CERTIFICATE, spec)


def _serving_certificate(path: Path, spec: HostSpec) -> None:
    """Write the kubelet's certificate, which has the node's addresses."""
    names = [f"DNS:{spec.name}", "DNS:localhost", "IP:127.0.0.1", "IP:::1"]
    names += [f"IP:{address}" for address in furniture.node_ips(spec)]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-days", "365", "-subj", f"/CN={spec.name}", "-keyout", path.with_suffix(".key")),
            *("-addext", f"subjectAltName={','.join(names)}", "-out", path),
        ],
        check=True,
        capture_output=True,
    )
