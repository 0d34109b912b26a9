"""The OpenRC services that may run K3s: conf.d first, then the init script, as OpenRC does."""

from __future__ import annotations

from pathlib import Path

from . import _k3s_command, _k3s_files, _k3s_shell
from ._k3s_units import Service


def openrc_services(root: Path) -> list[Service]:
    """Return the services below ``/etc/init.d`` that are named after K3s."""
    levels = root / "etc/runlevels"
    enabled = {
        name for level in _k3s_files.names(levels) for name in _k3s_files.names(levels / level)
    }
    names = [name for name in _k3s_files.names(root / "etc/init.d") if name.startswith("k3s")]
    return [_service(root, name, name in enabled) for name in names]


def _service(root: Path, name: str, enabled: bool) -> Service:
    def text_of(path: str) -> str:
        return _k3s_files.read_text(_k3s_files.inside(root, path)) if path.startswith("/") else ""

    variables = {"RC_SVCNAME": name, "SVCNAME": name}
    # https://github.com/OpenRC/openrc/blob/master/sh/openrc-run.sh.in: conf.d comes first, so a
    # script that sets a variable without asking for its value wins.
    for path in ("/etc/rc.conf", f"/etc/conf.d/{name}", f"/etc/init.d/{name}"):
        _k3s_shell.assign(text_of(path), variables, text_of)
    command = variables.get("command", "")
    text = f"{command} {variables.get('command_args', '')}"
    text = " ".join(text.split("\n"))
    runs = [
        run
        for words in _k3s_shell.commands(text, variables)
        for run in _k3s_command.find_runs(words, variables, lambda _path: "")
    ]
    return Service(name, tuple(runs), enabled)
