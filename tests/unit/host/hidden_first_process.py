"""A chroot onto a mounted file system, by a process that may not look at the first one."""

import json
import os
import subprocess
import sys

from tests.paths import ROOT

# Less than the first process has, so that its root may not be read.
_CAPABILITIES = "-all,+sys_chroot"
_MOUNT = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/proc"
mount --rbind /proc "$1/proc"
root=$1; shift
exec setpriv --bounding-set="$1" --inh-caps=-all "$2" -c "$3" "$root" "$4"
"""
_ASK = """
import importlib, json, os, sys
is_image = importlib.import_module(sys.argv[2]).is_image
found = [is_image({})]
read, write = os.pipe()
if not os.fork():
    os.chroot(sys.argv[1])
    os.chdir("/")
    os.write(write, json.dumps(is_image({})).encode())
    os._exit(0)
os.wait()
found.append(json.loads(os.read(read, 99)))
try:
    os.stat("/proc/1/root")
    first = "seen"
except PermissionError:
    first = "hidden"
print(json.dumps({"first process": first, "image": found}))
"""


def in_chroot(folder, module):
    """What a module says outside of a chroot and in it, and whether the first process is hidden."""
    enter = ["unshare", "--mount", "--", "sh", "-c", _MOUNT, "enter", str(folder)]
    done = subprocess.run(
        [*enter, _CAPABILITIES, sys.executable, _ASK, module],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/_utils"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)
