"""An image of a node, built in a chroot by a masterless minion with the image's own Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.compatibility.cell import Cell, NotHere, Prepared

_SUITE = "bookworm"
# The image's own; firewalld comes with the state.
_PACKAGES = ("ca-certificates", "iproute2", "python3", "python3-venv")
_OF_STATE = ("firewalld", "ipset", "netbase", "nftables")
_PYTHON = (3, 11)
_SALT = "/opt/salt"


def cells() -> list[Cell]:
    """Return the cell of Debian 12."""
    return [
        Cell(
            group="host",
            name="image-debian12",
            what="an image, built in a chroot without a network, a D-Bus or systemd",
            tests=("tests/compatibility/test_image_build.py",),
            prepare=_prepare,
            firewalld="1.3",
            backend="nftables",
            host="chroot of Debian 12, minbase",
            shipping="salt-call --local",
        )
    ]


def _prepare(kept: Path) -> Prepared:
    root = kept / "images/debian12"
    if not root.exists():
        if shutil.which("debootstrap") is None:
            raise NotHere("debootstrap is not installed. Fix: apt-get install debootstrap")
        if sys.version_info[:2] != _PYTHON:
            raise NotHere("Salt for the image is installed by a Python 3.11 outside of it")
        _build(root)
    shown = "import platform, salt.version as v; print(v.__version__, platform.python_version())"
    # Salt needs /proc to be imported; its version does not.
    salt, python = _chroot(root, f"{_SALT}/bin/python3", "-c", shown).split()
    candidate = _chroot(root, "apt-cache", "policy", "firewalld").split("Candidate: ")[1].split()[0]
    versions = {"salt": salt, "python": python, "firewalld": candidate.partition("-")[0]}
    return Prepared({"K3SFW_IMAGE": str(root)}, versions)


def _build(root: Path) -> None:
    new = root.with_name(f"{root.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    include = f"--include={','.join(_PACKAGES)}"
    try:
        _run("debootstrap", "--variant=minbase", include, _SUITE, str(new))
        # The state finds them in apt's own cache.
        shutil.copy("/etc/resolv.conf", new / "etc/resolv.conf")
        (new / "etc/apt/apt.conf.d/20keep").write_text(
            'Binary::apt::APT::Keep-Downloaded "true";\n'
        )
        _chroot(new, "apt-get", "install", "--yes", "--download-only", *_OF_STATE)
        (new / "etc/resolv.conf").write_text("")
        _chroot(new, "python3", "-m", "venv", "--without-pip", _SALT)
        packages = next((new / _SALT.lstrip("/") / "lib").glob("python3.*/site-packages"))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", f"--target={packages}"]
        _run(*pip, "salt", "jeepney", "netaddr", "psutil")
    except subprocess.CalledProcessError as error:
        raise NotHere(f"{error.cmd[0]} failed: {error.stderr.strip()[-300:]}") from error
    new.rename(root)


def _chroot(root: Path, *command: str) -> str:
    return _run("chroot", str(root), *command)


def _run(*command: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
