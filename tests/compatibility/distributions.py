"""Root file systems of other distributions, made by debootstrap, with a Salt in their own Python.

firewalld is not installed in them: its packages lie in the cache of apt, so that the state installs
them on a host that has no network, as it does on a live node.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.compatibility.cell import NotHere

# Where the programs of Salt are in each root.
SALT = "opt/salt/bin"
# What a server has. A minimal system lacks even iproute2.
_SYSTEM = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iptables",
    "kmod",
    "procps",
    "python3",
    "python3-venv",
    "systemd",
    "systemd-sysv",
)
# Salt, and some of the packages that it needs, are distributed only as source.
_COMPILER = ("gcc", "libc6-dev", "python3-dev")
# What k3s.firewall installs.
_INSTALLED_BY_STATE = ("firewalld", "ipset", "netbase", "nftables")
_REQUIREMENTS = ("jeepney", "netaddr", "psutil")
# Of no use in a test.
_NOT_KEPT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")

_SCRIPTS = Path("/usr/share/debootstrap")
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_APT_OPTIONS = """\
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
"""


@dataclass(frozen=True)
class Distribution:
    """A release, by the name of its suite, and the series of Salt that its Python can run."""

    name: str
    title: str
    suite: str
    salt: str
    # Which of debootstrap's scripts, if it has none of this name.
    script: str = "sid"
    components: str = "main"
    # A root that has the keyring of this distribution, if this machine's Debian does not.
    keyring_in: str = ""
    # Packages that the system needs in addition.
    extra: tuple[str, ...] = ()


def made(distribution: Distribution, roots: Path, keyring: Path | None = None) -> Path:
    """Return the folder with the root of this distribution; it is made if it is not there."""
    if not _SCRIPTS.is_dir():
        raise NotHere("debootstrap is not installed. Fix: apt-get install debootstrap")
    root = roots / distribution.name
    with _unfinished(root) as making:
        if making:
            _bootstrap(distribution, making, keyring)
            _configure_apt(distribution, making)
            with _ready_for_chroot(making) as run:
                run("apt-get", "update", "-q")
                _install_salt(distribution, run)
                run("apt-get", "clean")
                run("apt-get", "install", "-q", "-y", "--download-only", *_INSTALLED_BY_STATE)
            for folder in _NOT_KEPT:
                shutil.rmtree(making / folder, ignore_errors=True)
    return root


def keyring_of_ubuntu(debian: Path) -> Path:
    """Return Ubuntu's keyring, which is a package of Debian, from a root of Debian."""
    keyring = debian.parent / "ubuntu-archive-keyring.gpg"
    if not keyring.exists():
        package = debian.parent / "ubuntu-keyring"
        with _ready_for_chroot(debian) as run:
            run("sh", "-ec", "cd /tmp; apt-get download -q ubuntu-keyring")
        (archive,) = (debian / "tmp").glob("ubuntu-keyring_*.deb")
        _run(["dpkg", "--extract", str(archive), str(package)], debian.with_suffix(".log"))
        archive.unlink()
        shutil.copy2(package / "usr/share/keyrings/ubuntu-archive-keyring.gpg", keyring)
        shutil.rmtree(package)
    return keyring


@contextmanager
def _unfinished(root: Path) -> Iterator[Path | None]:
    """Give a folder to fill, which becomes the root at the end; or None if the root is there."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.exists():
            yield None
            return
        making = root.with_suffix(".new")
        shutil.rmtree(making, ignore_errors=True)
        yield making
        making.rename(root)


def _bootstrap(distribution: Distribution, making: Path, keyring: Path | None) -> None:
    """Install the minimal system and what a server has besides."""
    scripts = making.with_suffix(".debootstrap")
    shutil.rmtree(scripts, ignore_errors=True)
    shutil.copytree(_SCRIPTS, scripts, symlinks=True)
    own = scripts / "scripts" / distribution.suite
    if not own.exists():
        own.symlink_to(distribution.script)
    _run(
        [
            *("debootstrap", "--variant=minbase", f"--components={distribution.components}"),
            f"--include={','.join((*_SYSTEM, *distribution.extra))}",
            *([f"--keyring={keyring}"] if keyring else []),
            *(distribution.suite, str(making)),
        ],
        making.with_suffix(".log"),
        DEBOOTSTRAP_DIR=str(scripts),
    )
    shutil.rmtree(scripts)


def _configure_apt(distribution: Distribution, making: Path) -> None:
    """Take the options of this machine's apt that decide whether its archive is believed."""
    shown = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    dates = re.findall(r"^Acquire::Check-(?:Valid-Until|Date) .*$", shown, re.MULTILINE)
    options = making / "etc/apt/apt.conf.d/90k3sfw"
    options.write_text("".join(f"{line}\n" for line in dates) + _APT_OPTIONS)


def _install_salt(distribution: Distribution, run) -> None:
    """Install Salt by pip into the distribution's Python, and take the compiler out again."""
    run("apt-get", "install", "-q", "-y", *_COMPILER)
    run("python3", "-m", "venv", f"/{Path(SALT).parent}")
    run(f"/{SALT}/pip", "install", "-q", distribution.salt, *_REQUIREMENTS)
    run("apt-get", "purge", "-q", "-y", "--autoremove", *_COMPILER)


@contextmanager
def _ready_for_chroot(root: Path) -> Iterator:
    """Give a function that runs a command in the root, with the network and nothing else."""
    certificates = (
        Path("/", _CERTIFICATES).read_bytes() if Path("/", _CERTIFICATES).exists() else b""
    )
    for file, content in (
        (_CERTIFICATES, certificates),
        ("etc/resolv.conf", Path("/etc/resolv.conf").read_bytes()),
        # An installation must not start services: there is no system that could run them.
        ("usr/sbin/policy-rc.d", b"#!/bin/sh\nexit 101\n"),
    ):
        (root / file).unlink(missing_ok=True)
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)
    (root / "usr/sbin/policy-rc.d").chmod(0o755)

    def run(*command: str) -> None:
        # A mount namespace of its own: /proc and /dev are gone with the command.
        mounts = (
            f"mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev; "
            f"mount --bind {cache} {root}/mnt"
        )
        inside = f'{mounts}; exec chroot {root} "$@"'
        _run(
            ["unshare", "--mount", "--propagation=private", "sh", "-ec", inside, "sh", *command],
            root.with_suffix(".log"),
            DEBIAN_FRONTEND="noninteractive",
            PIP_CERT=f"/{_CERTIFICATES}",
            PIP_CACHE_DIR="/mnt",
        )

    # Kept for the next root: most of what Salt needs is the same for every Python.
    cache = root.parent / "pip-cache"
    cache.mkdir(exist_ok=True)
    try:
        yield run
    finally:
        (root / "usr/sbin/policy-rc.d").unlink()


def _run(command: list[str], log: Path, **environment: str) -> None:
    kept = {
        name: os.environ[name]
        for name in ("PATH", "http_proxy", "https_proxy", "no_proxy")
        if name in os.environ
    }
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**kept, "LC_ALL": "C.UTF-8", **environment},
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise NotHere(f"{command[0]} failed (see {log.name}): {' '.join(last)}")
