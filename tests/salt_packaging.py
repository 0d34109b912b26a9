"""Environments of Salt laid out as its packages are, as far as Salt and pip look at that."""

from __future__ import annotations

from pathlib import Path

# What the Python of a onedir does when it starts: Salt knows it by sys.RELENV, and what its
# salt-pip has installed comes first.
_ONEDIR = (
    "import pathlib, sys; sys.RELENV = pathlib.Path({root!r}); "
    "sys.path.insert(0, {root!r} + '/extras-%d.%d' % sys.version_info[:2])"
)


def packages(environment: Path) -> Path:
    """The folder of the packages of an environment."""
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def make_onedir(environment: Path, root: Path) -> None:
    """Make it a onedir of the Salt Project.

    root
        Where the environment is for those that use it.
    """
    (packages(environment) / "onedir.pth").write_text(_ONEDIR.format(root=str(root)))
    salt_pip = environment / "salt-pip"
    salt_pip.write_text(f"#!{root}/bin/python\nfrom salt.scripts import salt_pip\nsalt_pip()\n")
    salt_pip.chmod(0o755)


def look_in(environment: Path, target: str) -> None:
    """Let it look in this folder too, as SUSE's bundle does in that of VENV_PIP_TARGET."""
    (packages(environment) / "local.pth").write_text(target)
