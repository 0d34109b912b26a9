"""Get another firewalld than the machine's: as Debian's packages, or from upstream's source.

``FIREWALLD_SOURCES`` names a git directory with the tags of upstream. From a tag the files are laid
out as its build would install them on Debian. Nothing of it is installed on the machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.compatibility.cell import NotHere
from tests.compatibility.debian_packages import download

# What the build replaces in files that end in ``.in``: where Debian has these programs.
_BUILT_IN = {
    "PYTHON": "/usr/bin/python3",
    "IFCFGDIR": "/etc/sysconfig/network-scripts",
    "DEFAULT_LOG_TARGET": "mixed",
    "IPTABLES": "/usr/sbin/iptables",
    "IPTABLES_RESTORE": "/usr/sbin/iptables-restore",
    "IP6TABLES": "/usr/sbin/ip6tables",
    "IP6TABLES_RESTORE": "/usr/sbin/ip6tables-restore",
    "EBTABLES": "/usr/sbin/ebtables",
    "EBTABLES_RESTORE": "/usr/sbin/ebtables-restore",
    "IPSET": "/usr/sbin/ipset",
    "MODPROBE": "/sbin/modprobe",
    "RMMOD": "/sbin/rmmod",
}
_PROGRAMS = {
    "firewalld": "usr/sbin",
    "firewall-cmd": "usr/bin",
    "firewall-offline-cmd": "usr/bin",
}
_KINDS = ("helpers", "icmptypes", "ipsets", "policies", "services", "zones")
_PACKAGES = ("firewalld", "python3-firewall")
# Up to 0.9 firewalld needs a library that Debian 11 was the last to have.
_LIBRARY = ("python3-slip", "python3-slip-dbus", "python3-decorator", "python3-six")
_LIBRARY_SUITE = "bullseye"


# -- from upstream's source -----------------------------------------------------------------------


def from_source(series: str, kept: Path) -> tuple[Path, str]:
    """Lay out the newest release of a series; return the folder and the version."""
    sources = os.environ.get("FIREWALLD_SOURCES")
    if not sources:
        raise NotHere(
            f"Debian has no firewalld {series}; set FIREWALLD_SOURCES to a git directory of "
            "upstream's"
        )
    version = _newest(sources, series)
    folder = kept / f"firewalld-{version}"
    with _unfinished(folder) as making:
        if making:
            tree = making.parent / "tree"
            tree.mkdir()
            archive = _git(sources, "archive", f"v{version}")
            subprocess.run(["tar", "--extract", f"--directory={tree}"], check=True, input=archive)
            _lay_out(tree, making, version)
            _add_library(making)
    return folder, version


def _git(folder: str, *arguments: str) -> bytes:
    done = subprocess.run(
        ["git", f"--git-dir={folder}", *arguments], check=False, capture_output=True
    )
    if done.returncode:
        raise NotHere(f"FIREWALLD_SOURCES: {done.stderr.decode().strip()}")
    return done.stdout


def _newest(sources: str, series: str) -> str:
    tags = _git(sources, "tag", "--list", f"v{series}.*").decode().split()
    patches = [int(found[1]) for tag in tags if (found := re.fullmatch(r"v[\d.]+\.(\d+)", tag))]
    if not patches:
        raise NotHere(f"FIREWALLD_SOURCES has no release of firewalld {series}")
    return f"{series}.{max(patches)}"


def _lay_out(tree: Path, root: Path, version: str) -> None:
    library = root / "usr/lib/python3/dist-packages/firewall"
    shutil.copytree(tree / "src/firewall", library)
    settings = library / "config/__init__.py.in"
    _built(settings, library / "config/__init__.py", version)
    settings.unlink()
    for program, folder in _PROGRAMS.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        _built(tree / f"src/{program}.in", root / folder / program, version)
        (root / folder / program).chmod(0o755)
    for kind in _KINDS:
        if (tree / "config" / kind).is_dir():
            shutil.copytree(tree / "config" / kind, root / "usr/lib/firewalld" / kind)
        (root / "etc/firewalld" / kind).mkdir(parents=True)
    shutil.copy2(tree / "config/firewalld.conf", root / "etc/firewalld")
    lockdown = tree / "config/lockdown-whitelist.xml.in"
    if lockdown.exists():
        _built(lockdown, root / "etc/firewalld/lockdown-whitelist.xml", version)
    (root / "usr/share/dbus-1/system.d").mkdir(parents=True)
    shutil.copy2(tree / "config/FirewallD.conf", root / "usr/share/dbus-1/system.d")


def _built(template: Path, target: Path, version: str) -> None:
    text = template.read_text()
    for name, value in {**_BUILT_IN, "PACKAGE_VERSION": version, "bindir": "/usr/bin"}.items():
        text = text.replace(f"@{name}@", value)
    target.write_text(text)


# -- from Debian's archive ------------------------------------------------------------------------


def from_debian(suite: str, kept: Path) -> tuple[Path, str]:
    """Extract the packages of a suite of Debian; return the folder and the upstream version."""
    folder = kept / f"firewalld-of-{suite}"
    with _unfinished(folder) as making:
        if making:
            _extract(suite, _PACKAGES, making)
            _add_library(making)
    settings = folder / "usr/lib/python3/dist-packages/firewall/config/__init__.py"
    found = re.search(r"""^VERSION = ["'](.+)["']""", settings.read_text(), re.MULTILINE)
    assert found, f"{settings} tells no version"
    return folder, found[1]


def _add_library(root: Path) -> None:
    server = root / "usr/lib/python3/dist-packages/firewall/server/server.py"
    if "import slip" in server.read_text():
        _extract(_LIBRARY_SUITE, _LIBRARY, root)
        # Python 3.10 took the older names away.
        for file in (server.parents[2] / "slip").rglob("*.py"):
            text = file.read_text()
            newer = text.replace("import collections\n", "import collections.abc\n")
            file.write_text(newer.replace("collections.Callable", "collections.abc.Callable"))


def _extract(suite: str, packages: Iterable[str], root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for package in download(packages, suite, Path(folder)):
            subprocess.run(["dpkg-deb", "--extract", package, root], check=True)


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path | None]:
    """A folder to fill that gets its name once it is complete; None if that is there already."""
    if folder.exists():
        yield None
        return
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        making = Path(beside) / "made"
        making.mkdir()
        yield making
        making.chmod(0o755)
        making.rename(folder)
