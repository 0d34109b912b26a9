"""Runs inside a host: one change that is killed, or hurt, just before one of its steps.

``transaction_driver.py STEP WAY < {"pillar": …, "role": …}``: ``STEP`` counts from 0; one that is
not reached lets the apply end. ``WAY`` is ``fail``, or one of those below. What the steps were is
printed.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

from k3sfw_engine.commands import adopt, apply, prepare, remove
from k3sfw_engine.errors import EngineError
from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.steps import Reload
from k3sfw_engine.port_tables.read_pillar import parse_tables
from k3sfw_engine.standalone.undo import step_log
from k3sfw_engine.transaction import (
    before_first_start,
    checkpoint,
    execute_plan,
    journal,
    make_permanent,
    take_out_of_zone,
    watchdog,
)
from k3sfw_engine.transaction.commit_options import CommitOptions


def pkill(number, name):
    subprocess.run(["pkill", f"-{number}", "-x", name], check=True)


def kill(name):
    """Kill a daemon, and wait until it is gone: the next look must not find it dying."""
    pkill("KILL", name)
    while subprocess.run(["pgrep", "-x", name], check=False, capture_output=True).stdout:
        time.sleep(0.005)


def fill(folder):
    """Leave no room in the file system that the folder is."""
    with suppress(OSError), open(f"{folder}/filling", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def kill_beside_drop_table():
    """Leave what a reload leaves in which firewalld is killed, and die."""
    table = "inet firewalld_policy_drop"
    chain = "filter_input { type filter hook input priority 9; policy drop; }"
    subprocess.run(["nft", f"add table {table}; add chain {table} {chain}"], check=True)
    os.kill(os.getpid(), signal.SIGKILL)


WAYS = {
    "kill": lambda given: os.kill(os.getpid(), signal.SIGKILL),
    "kill-beside-drop-table": lambda given: kill_beside_drop_table(),
    # Not by SIGSTOP: the nsenter that waits for it would stop, too.
    "freeze": lambda given: time.sleep(600),
    "kill-firewalld": lambda given: kill("firewalld"),
    "stop-firewalld": lambda given: pkill("STOP", "firewalld"),
    "kill-bus": lambda given: kill("dbus-daemon"),
    "stop-timer": lambda given: subprocess.run(
        ["systemctl", "stop", "k3sfw-undo-*.timer"], check=True
    ),
    "fill": lambda given: fill(given["folder"]),
    "truncate": lambda given: Path(given["file"]).write_text("<"),
    "read-only": lambda given: subprocess.run(
        ["mount", "-o", "remount,ro", given["folder"]], check=True
    ),
}


def killed_in_reload(execute, seconds):
    """``execute`` with a firewalld that is killed so many seconds after a reload began."""

    def wrapped(bus, steps):
        steps = list(steps)
        if any(isinstance(step, Reload) for step in steps):
            threading.Timer(seconds, pkill, ("KILL", "firewalld")).start()
        return execute(bus, steps)

    return wrapped


def main(at, way):
    given = json.load(sys.stdin)
    steps = []

    def reached(name):
        steps.append(name)
        if len(steps) - 1 == at:
            if way == "fail":
                raise EngineError([f"failed on purpose before {name}"])
            WAYS[way](given)

    def after(function, name):
        def wrapped(*arguments, **options):
            result = function(*arguments, **options)
            reached(name)
            return result

        return wrapped

    note = step_log.note

    def noting(folder, line, wait=True):
        note(folder, line, wait)
        reached(line["step"])

    step_log.note = noting
    checkpoint.begin = after(journal.begin, "begun")
    checkpoint.arm = after(watchdog.arm, "armed")
    if "kill_in_reload" in given:
        execute_plan.execute = killed_in_reload(execute_plan.execute, given["kill_in_reload"])
    for name in ("put_files", "put_back_files", "execute"):
        setattr(execute_plan, name, after(getattr(execute_plan, name), name))
    make_permanent.put_files = after(make_permanent.put_files, "put_files")
    take_out_of_zone.take_out = after(take_out_of_zone.take_out, "take_out")
    execute_plan.RUN_DEADLINE = before_first_start.RUN_DEADLINE = given.get("within", 30)
    tables = parse_tables(given["pillar"], minion_id="s1", role=given["role"])
    role = Role(given["role"])
    try:
        if given.get("function") == "adopt":
            outcome = adopt.adopt(tables, role, node="s1")
        elif given.get("function") == "prepare":
            outcome = prepare.prepare(tables, role, masters=["192.0.2.10"], master_ports=[4505])
        elif given.get("function") == "remove":
            outcome = remove.remove()
        else:
            options = CommitOptions(confirm_within=given.get("confirm_within", 0))
            outcome = apply.apply(tables, role, options=options)
    except EngineError as error:
        return {"steps": steps, "refused": error.sentences, "kind": type(error).__name__}
    return {"steps": steps, "changes": outcome.changes, "notices": outcome.notices}


print(json.dumps(main(int(sys.argv[1]), sys.argv[2])))
