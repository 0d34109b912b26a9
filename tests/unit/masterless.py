"""A masterless minion in a temporary folder, called with a real salt-call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SALT_CALL = "import sys; from salt.scripts import salt_call; sys.exit(salt_call())"


def configure(folder: Path, **settings: Any) -> None:
    """Write the minion's configuration into its folder."""
    folder.mkdir(exist_ok=True)
    own = {"root_dir": str(folder), "id": "s1", "file_client": "local", **settings}
    (folder / "minion").write_text(json.dumps(own))


def salt_call(folder: Path, *arguments: str, python: str | Path = sys.executable) -> Any:
    """Return the minion's answer; a non-zero exit code fails the test."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", SALT_CALL, "--local", "-c", folder, "--out=json", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["local"]
