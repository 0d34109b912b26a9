"""An image: a folder with the files of a system that does not run, entered as its builder does.

In it a masterless minion of this checkout applies the states of the checkout.
"""

import json
import subprocess
import sys
from pathlib import Path

from lab.namespaces import PATH, UNSET
from tests.paths import ROOT

MINION = "/etc/k3sfw-minion"
SALT_CALL = "import sys; from salt.scripts import salt_call; sys.exit(salt_call())"
# The shell is the first process, and its root is the builder's.
_ENTER = """
set -e
root=$1 shown=$2; shift 2
mount -t proc proc "$root/proc"
for folder in $shown; do
    # Where the folder is on the machine's files, it is there already.
    [ -z "$(ls -A "$root$folder" 2>/dev/null)" ] || continue
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
done
chroot "$root" "$@" || exit $?
"""


class Image:
    """The system below a folder.

    ``outside`` enters the namespaces of its builder, who knows the folder as ``mounted``.
    """

    def __init__(self, folder, outside=(), mounted=None, python=sys.executable, shown=None):
        self.folder = Path(folder)
        self.outside, self.mounted = list(outside), str(mounted or folder)
        self.python = str(python)
        own = {ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
        self.shown = sorted(map(str, own if shown is None else shown))

    def run(self, *argv, check=True, **environment):
        """Run a command in the image."""
        enter = ["unshare", "--mount", "--pid", "--fork", "--", "sh", "-c", _ENTER, "enter"]
        unset = [f"--unset={name}" for name in UNSET]
        own = [f"PATH={PATH}", *(f"{name}={value}" for name, value in environment.items())]
        command = [*self.outside, *enter, self.mounted, " ".join(self.shown)]
        done = subprocess.run(
            [*command, "env", *unset, *own, *argv],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def salt_call(self, *words, check=True):
        """The answer of a masterless salt-call."""
        done = self.run(*salt_call(self.python, *words), check=check)
        return json.loads(done.stdout)["local"]

    def states(self, *words, check=True):
        """What a state run returned, by the ids of the states."""
        return by_id(self.salt_call("state.apply", *words, check=check))

    def files(self, folder):
        """The files below a folder of the image, with their bytes and modes."""
        top = self.folder / folder
        return {
            str(path.relative_to(top)): (path.read_bytes(), path.stat().st_mode)
            for path in sorted(top.rglob("*"))
            if path.is_file()
        }


def salt_call(python, *words):
    """The command of a masterless salt-call with the configuration of ``furnish``."""
    return [python, "-W", "ignore", "-c", SALT_CALL, "--local", "-c", MINION, "--out=json", *words]


def by_id(returned):
    """The states of a run by their ids, each with its result and its changes."""
    return {
        state["__id__"]: {"result": state["result"], "changes": state["changes"], **_said(state)}
        for state in sorted(returned.values(), key=lambda each: each["__run_num__"])
    }


def _said(state):
    return {"comment": state["comment"]}


def furnish(root, pillar, role="server", checkout=ROOT):
    """Write the configuration of a masterless minion, with these tables, below a root."""
    folder = root / MINION.lstrip("/")
    (folder / "pillar").mkdir(parents=True, exist_ok=True)
    settings = {
        "id": "s1",
        "root_dir": MINION,
        "file_client": "local",
        "file_roots": {"base": [f"{checkout}/salt"]},
        "pillar_roots": {"base": [f"{MINION}/pillar"]},
    }
    (folder / "minion").write_text(json.dumps(settings))
    (folder / "grains").write_text(json.dumps({"k3s_role": role}))
    (folder / "pillar/top.sls").write_text(json.dumps({"base": {"*": ["tables"]}}))
    (folder / "pillar/tables.sls").write_text(json.dumps({"k3s": pillar}))
