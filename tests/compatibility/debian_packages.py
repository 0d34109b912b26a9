"""Fetch packages of any suite of Debian with apt, which checks their signatures.

Its lists and its state are of its own, so that the machine's apt knows nothing of it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.compatibility.cell import NotHere

_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def download(
    packages: Iterable[str], suite: str, folder: Path, *, with_dependencies: bool = False
) -> list[Path]:
    """Fetch packages into a folder, and with them what they depend on, if that is wanted."""
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "archives/partial").mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYS}] {_archive()} {suite} main\n")
    # No package is installed there: what this machine has is newer, perhaps, and then preferred.
    (folder / "status").touch()
    options = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder,
        "Dir::Cache::Archives": folder / "archives",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"--option={name}={value}" for name, value in options.items())]
    fetch = ["--yes", "--download-only", "--no-install-recommends", "install"]
    archives = folder / "archives"
    for action in (["update"], [*(fetch if with_dependencies else ["download"]), *packages]):
        done = subprocess.run([*apt, *action], cwd=archives, capture_output=True, text=True)
        if done.returncode:
            raise NotHere(f"no {' '.join(packages)} of {suite}: {done.stderr.strip()[:200]}")
    return sorted(archives.glob("*.deb"))


def _archive() -> str:
    """Return the archive that this machine's packages come from."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
         "Origin: Debian", "Label: Debian"],
        check=False,
        capture_output=True,
        text=True,
    )  # fmt: skip
    if not done.stdout:
        raise NotHere("this machine has no package index of Debian; apt-get update makes it")
    return done.stdout.split()[0]
