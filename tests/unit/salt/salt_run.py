"""A master without daemons whose runners are called by a real salt-run, of any release of Salt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from salt.version import __version_info__

from tests.paths import ROOT
from tests.unit.salt.pillar_master import Master, claims

NODES = {
    **{f"s{number}": ("server", f"192.0.2.1{number}") for number in (1, 2, 3)},
    **{f"a{number}": ("agent", f"192.0.2.2{number}") for number in (1, 2)},
}
# As pip's script of that name, which pytest's own options do not reach.
_SALT_RUN = "import sys; from salt.scripts import salt_run; sys.exit(salt_run())"


class Ran(NamedTuple):
    """What salt-run exits with, the data that it shows, and the text if it is not JSON."""

    code: int
    data: Any
    text: str


class RunnerMaster:
    """A master that knows five nodes, and has synced what it serves to itself."""

    def __init__(self, folder: Path, python: str | Path = sys.executable, **settings: Any):
        self.folder = folder
        self._python = python
        roots = {"file_roots": {"base": [str(ROOT / "salt")]}}
        self.master = Master(folder, **{**roots, **settings})
        # A master that has run once has it.
        (self.master.cached / "proc").mkdir(parents=True)
        self.run("saltutil.sync_all")

    def hear_nodes(self) -> None:
        for name, (role, address) in NODES.items():
            self.hear(name, claims(role, address))

    def hear(self, name: str, grains: dict[str, Any]) -> None:
        """Cache the grains where each release of Salt looks for them."""
        self.master.hear(name, grains)
        if __version_info__ >= (3008,):
            data = {"grains": grains, "pillar": {}}
            self.master.cache.store(f"minions/{name}", "data", data)

    def site(self, tree: Any) -> None:
        self.master.site.write_text(json.dumps({"k3s": tree}))

    def folder_with(self, name: str, tree: Any) -> str:
        """A folder with another pillar file of the site."""
        file = self.folder / name / "k3s/site.sls"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"k3s": tree}))
        return str(file.parents[1])

    def run(self, *words: str, form: str = "json") -> Ran:
        command = [self._python, "-c", _SALT_RUN, "-c", self.folder, f"--out={form}", *words]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if not form:
            command.remove("--out=")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
        try:
            data = json.loads(done.stdout)["data"]
        except (KeyError, TypeError, ValueError):
            data = None
        return Ran(done.returncode, data, done.stdout + ("" if done.stdout else done.stderr))
