"""A playbook on a host, applied by Ansible on that host: what both of its tools have in common.

``ANSIBLE`` names a folder of programs that has ansible-playbook; without it, PyPI's package
``ansible`` is installed below the environment of the tests. Ansible notes when each task begins and
ends, so its own start is not in its figure.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.tools.tool import Action, NotHere, ToolFailed
from lab.host import Host

KEPT = Path(sys.prefix).resolve() / "bench"
_FOLDER = "/root/ansible"
_SETTINGS = {
    "ANSIBLE_HOME": f"{_FOLDER}/home",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}


def get() -> str:
    """Install Ansible if need be, and return its version."""
    if not (_programs() / "ansible-playbook").exists():
        if "ANSIBLE" in os.environ:
            raise NotHere(f"no ansible-playbook in {os.environ['ANSIBLE']}")
        venv.create(_programs().parent, with_pip=True)
        pip = [str(_programs() / "python"), "-m", "pip", "install", "--quiet", "ansible"]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotHere(f"pip install ansible failed: {done.stderr.strip()[-200:]}")
    return _asked("import ansible.release; print('ansible-core', ansible.release.__version__)")


def version_of_collection(name: str) -> str:
    """The version of a collection that came with Ansible; the name as ``ansible.posix``."""
    folder = "/".join(("ansible_collections", *name.split(".")))
    return _asked(
        "import json, sys, pathlib\n"
        f"files = [pathlib.Path(each) / {folder!r} / 'MANIFEST.json' for each in sys.path]\n"
        "found = next(each for each in files if each.exists())\n"
        "print(json.loads(found.read_text())['collection_info']['version'])"
    )


def write(host: Host, tasks: Mapping[Action, Sequence[Mapping[str, Any]]]) -> None:
    """Write a playbook for each action."""
    folder = host.path(_FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    for action, those in tasks.items():
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            # firewalld's library lies with the system's Python.
            "vars": {"ansible_python_interpreter": "/usr/bin/python3"},
            "tasks": list(those),
        }
        (folder / f"{action.name}.yml").write_text(yaml.safe_dump([play]))


def command(action: Action, **settings: str) -> Sequence[str]:
    """Run the playbook of an action, a dry run as ``--check`` of applying."""
    playbook = Action.APPLY if action is Action.DRY_RUN else action
    words = [f"{name}={value}" for name, value in {**_SETTINGS, **settings}.items()]
    check = ["--check"] if action is Action.DRY_RUN else []
    program = str(_programs() / "ansible-playbook")
    return ["env", *words, program, "-i", "localhost,", *check, f"{_FOLDER}/{playbook.name}.yml"]


def own_seconds(printed: str, _whole: float) -> float:
    """From the begin of the first task to the end of the last one."""
    try:
        told = json.loads(printed[printed.index("{") :])
        tasks = [task for play in told["plays"] for task in play["tasks"]]
        results = [result for task in tasks for result in task["hosts"].values()]
        times = [_time(task["task"]["duration"][end]) for task in tasks for end in ("start", "end")]
    except (ValueError, KeyError):
        raise ToolFailed(printed.strip()[-500:]) from None
    failed = [each.get("msg", "") for each in results if each.get("failed")]
    if failed or not times:
        raise ToolFailed(str(failed)[:500])
    return (max(times) - min(times)).total_seconds()


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _programs() -> Path:
    return Path(os.environ.get("ANSIBLE", KEPT / "ansible/bin"))


def _asked(code: str) -> str:
    python = [str(_programs() / "python"), "-c", code]
    return subprocess.run(python, capture_output=True, text=True, check=True).stdout.strip()
