"""The walk of a node on each distribution that debootstrap makes, booted by its own systemd."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.compatibility import distributions
from tests.compatibility.cell import Cell, Prepared
from tests.compatibility.distributions import Distribution

_UBUNTU = {"script": "gutsy", "components": "main,universe", "keyring_in": "debian13"}

# Salt: the newest series that the Python of the distribution can run.
DISTRIBUTIONS = (
    Distribution("debian11", "Debian 11", "bullseye", "salt==3006.*"),
    Distribution("debian12", "Debian 12", "bookworm", "salt==3008.*"),
    Distribution("debian13", "Debian 13", "trixie", "salt==3008.*"),
    Distribution("debian-testing", "Debian testing (forky)", "forky", "salt==3008.*"),
    Distribution("ubuntu2204", "Ubuntu 22.04", "jammy", "salt==3008.*", **_UBUNTU),
    Distribution("ubuntu2404", "Ubuntu 24.04", "noble", "salt==3008.*", **_UBUNTU),
    Distribution("ubuntu2604", "Ubuntu 26.04", "resolute", "salt==3008.*", **_UBUNTU),
)


def root_of(distribution: Distribution, kept: Path) -> Path:
    """Return the root of a distribution, made if it is not there."""
    roots, keyring = kept / "roots", None
    if distribution.keyring_in:
        (debian,) = (each for each in DISTRIBUTIONS if each.name == distribution.keyring_in)
        keyring = distributions.keyring_of_ubuntu(root_of(debian, kept))
    return distributions.made(distribution, roots, keyring)


def cells() -> list[Cell]:
    """Return a cell for each distribution."""
    return [
        Cell(
            "host",
            each.name,
            "first start by the state, no-op, drift, checks, reboot, removal",
            ("tests/compatibility/test_distribution.py",),
            lambda kept, each=each: _prepared(each, kept),
            salt=each.salt.removeprefix("salt==").removesuffix(".*"),
            host=each.title,
            shipping="masterless",
        )
        for each in DISTRIBUTIONS
    ]


def _prepared(distribution: Distribution, kept: Path) -> Prepared:
    root = root_of(distribution, kept)
    versions = {
        "host": f"{distribution.title}, systemd {_package(root, 'systemd')}",
        "salt": _salt(root),
        "python": _python(root),
        "firewalld": _cached(root, "firewalld"),
        "backend": f"nftables {_cached(root, 'nftables')}",
    }
    return Prepared({"K3SFW_ROOT": str(root)}, versions)


def _salt(root: Path) -> str:
    """The version of the Salt in the root, by what pip wrote about it."""
    (folder,) = (root / distributions.SALT).parent.glob("lib/python3*/site-packages/salt-*-info")
    return folder.name.split("-")[1].removesuffix(".dist").removesuffix(".egg")


def _python(root: Path) -> str:
    command = ["chroot", str(root), f"/{distributions.SALT}/python", "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]


def _package(root: Path, name: str) -> str:
    command = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", "-f=${Version}", name]
    return _upstream(subprocess.run(command, capture_output=True, text=True).stdout)


def _cached(root: Path, name: str) -> str:
    """The version of a package that is to be installed."""
    (archive,) = (root / "var/cache/apt/archives").glob(f"{name}_*.deb")
    return _upstream(archive.name.split("_")[1])


def _upstream(version: str) -> str:
    return re.split(r"[-~+]", version.replace("%3a", ":").partition(":")[2] or version)[0]
