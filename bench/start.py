"""
What k3sfw costs before it does anything, and what a run costs that finds nothing to do.

Each file that Salt loads is imported in a process that has what a minion or a master has by then:
the processor time, and the modules that it adds. The grain is read on a host as K3s's installer
leaves it. Last come the processes, the files and the bytes of a state run that changes nothing,
beside those of ``test.ping``; strace counts them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.rules import pillar_of
from bench.tools import salt_call
from lab.cluster import Lab
from lab.daemons import salt_program
from lab.host import Host
from lab.spec import HostSpec
from tests.unit.salt import k3s_hosts

CHECKOUT = Path(__file__).resolve().parents[1]
DRIVER = Path(__file__).with_name("start_driver.py")
LOADED = {
    "_grains/k3s.py": "salt.minion",
    "_modules/k3sfw.py": "salt.minion",
    "_states/k3sfw.py": "salt.minion",
    "_output/k3sfw.py": "salt.cli.salt",
    "_runners/k3sfw.py": "salt.runner",
}
RUNS = 5
SERVER = HostSpec("s1", "server", 11, minion=False)
_READ = re.compile(r"(?:read|pread64|recvmsg|recvfrom)\(.* = (\d+)$")


def main() -> None:
    """Measure, and print the results."""
    # Salt compiles what it syncs once; in a checkout, others may have changed files.
    folders = ["_utils", *(Path(file).parts[0] for file in LOADED)]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *folders], cwd=CHECKOUT, check=True)
    print(f"importing, medians of {RUNS} runs on {os.cpu_count()} cores")
    for file, into in LOADED.items():
        found = [_driven("import", str(CHECKOUT / file), into) for _run in range(RUNS)]
        spent = statistics.median(each["seconds"] for each in found)
        others = ", ".join(found[0]["packages"]) or "nothing"
        print(f"  {file:20}{spent * 1000:8.1f} ms  {found[0]['ours']:4} of ours, and {others}")
    with tempfile.TemporaryDirectory() as folder:
        k3s_hosts.Host(Path(folder)).install_sh("server")
        grain = statistics.median(_driven("grain", folder)["seconds"] for _run in range(RUNS))
    print(f"  {'the grain, read':20}{grain * 1000:8.1f} ms")
    if shutil.which("strace") is None:
        print("no strace here: processes, files and bytes are not counted")
        return
    with Lab(f"bench{os.getpid()}", (SERVER,), salt=False, ephemeral=True) as lab:
        host = lab.host("s1")
        salt_call.configure(host, {"rules": {"k3s_firewall": {"k3sfw.managed": []}}}, pillar_of(5))
        host.run(_salt_call("state.apply", "rules"), timeout=300)
        print("one salt-call                processes   files  KiB read")
        for name, words in (
            ("test.ping", ("test.ping",)),
            ("k3sfw.role", ("k3sfw.role",)),
            ("state.apply, no change", ("state.apply", "rules")),
        ):
            processes, files, size = _traced(host, _salt_call(*words))
            print(f"  {name:27}{processes:9}{files:8}{size / 1024:10.0f}")


def _driven(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(DRIVER), *words], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def _salt_call(*words: str) -> list[str]:
    return [
        salt_program("salt-call"),
        "--local",
        "-c",
        salt_call.CONFIGURATION,
        "--out=json",
        *words,
    ]


def _traced(host: Host, command: list[str]) -> tuple[int, int, int]:
    """The processes that were started, the files that were opened, and the bytes that were read."""
    calls = "trace=execve,openat,read,pread64,recvmsg,recvfrom"
    with tempfile.TemporaryDirectory() as folder:
        # A file for each process: in a common one, calls of one interrupt those of another.
        strace = ["strace", "-ff", "-qq", "-s0", "-e", calls, "-o", f"{folder}/trace"]
        host.run([*strace, *command], timeout=600)
        lines = [line for file in Path(folder).iterdir() for line in file.read_text().splitlines()]
    done = [line for line in lines if " = -1 " not in line]
    return (
        sum(line.startswith("execve(") for line in done),
        sum(line.startswith("openat(") for line in done),
        sum(int(found[1]) for found in map(_READ.match, done) if found),
    )


if __name__ == "__main__":
    main()
