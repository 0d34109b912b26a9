"""The source's script: a firewall-cmd for each rule, and a reload."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from bench.rules import SCRIPT, Rules
from bench.tools.tool import Action, Tool
from lab.host import Host

_FILES = {Action.APPLY: "/root/open.sh", Action.REMOVE: "/root/close.sh"}


def _get() -> str:
    done = subprocess.run(
        ["firewall-offline-cmd", "--version"], capture_output=True, text=True, check=False
    )
    return f"firewall-cmd {done.stdout.strip()}"


def _write(host: Host, rules: Rules) -> None:
    *lines, reload = SCRIPT.read_text().splitlines()
    more = [f"firewall-cmd --permanent --remove-port={port}" for port in rules.former_ports]
    more += [f"firewall-cmd --permanent --add-port={port}" for port in rules.more_ports]
    opening = "\n".join([*lines, *more, reload]) + "\n"
    host.path(_FILES[Action.APPLY]).write_text(opening)
    host.path(_FILES[Action.REMOVE]).write_text(opening.replace("--add-", "--remove-"))


def _command(action: Action) -> Sequence[str]:
    return ["sh", _FILES[action]]


TOOL = Tool(
    key="script",
    name="the source's script",
    how="as published; a row is a line more, and a removal has `--remove-` in place of `--add-`",
    get=_get,
    write=_write,
    command=_command,
    own_seconds=lambda _printed, whole: whole,
    cannot={
        Action.DRY_RUN.value: "firewall-cmd has no dry run",
        "join": "it opens its ports to everyone, so a node that joins changes nothing",
    },
)
