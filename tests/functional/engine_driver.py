"""Runs inside a host: one call of the engine, with input and answer as JSON.

``engine_driver.py FUNCTION < {"pillar": …, "minion_id": …, "role": …, "options": {…}}``
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

import netaddr

from k3sfw_engine.commands import (
    adopt,
    apply,
    ask,
    confirm,
    explain,
    heal,
    history,
    in_force,
    metrics,
    prepare,
    remove,
    rollback,
)
from k3sfw_engine.commands.check_ports import check_ports
from k3sfw_engine.commands.check_zones import check_zones
from k3sfw_engine.commands.firewall_cmd_script import firewall_cmd_script
from k3sfw_engine.commands.plan import plan as plan_here
from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld import trial_start
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.port_tables.read_metrics import read_metrics
from k3sfw_engine.port_tables.read_pillar import parse_tables
from k3sfw_engine.transaction import compare
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.still_reachable import Proof


def main(function):
    given = json.load(sys.stdin)
    options = given.get("options", {})
    commit = CommitOptions(what=function, confirm_within=options.pop("confirm_within", 0))
    if function == "remove":
        return _outcome(remove.remove(options=commit, **options))
    if function == "history":
        return history.history()
    if function == "ask":
        return {"answers": ask.ask(ask.parse_packets(options["packets"]))}
    if function == "in_force":
        return in_force.in_force(**options)
    if function == "confirm":
        return _outcome(confirm.confirm(Proof()))
    if function == "rollback":
        return _outcome(rollback.rollback(options.pop("name", None), options=commit, **options))
    if function == "try_out":
        contents = {
            Path(path): None if text is None else text.encode()
            for path, text in options.pop("contents", {}).items()
        }
        trial = trial_start.try_out(contents, **options)
        return {"tried": trial.tried, "notices": trial.notices}
    if function == "metrics":
        settings = read_metrics(given["pillar"])
        node = _replaced(_node(given), options.pop("name", None))
        return _metrics(metrics.write_metrics(settings, node, time.time(), **options))
    if function == "remove_metrics":
        return _metrics(metrics.remove_metrics(**options))
    if function == "heal":
        outcome = heal.heal(**options)
        return {**_outcome(outcome), "notices": [*outcome.meaning, *outcome.notices]}
    if function == "overlay":
        found = read_overlay()
        return {
            "devices": {
                each.name: [each.kind, each.vni, each.port, str(each.local), each.link]
                for each in found.devices
            },
            "routes": [f"{r.destination} via {r.gateway} dev {r.device}" for r in found.routes],
            "flannel": found.flannel_names,
            "networks": list(map(str, found.networks)),
            "unread": list(map(str, found.unread)),
        }
    tables = parse_tables(given["pillar"], minion_id=given["minion_id"], role=given["role"])
    role = Role(given["role"])
    if function == "compare":
        plan, _observed = compare.compare(tables, role, read_overlay())
        return {
            "changes": as_changes(plan.differences),
            "reloads": plan.reloads,
            "notices": plan.notices,
        }
    if function == "plan":
        return plan_here(tables, role)
    if function == "script":
        return {"script": firewall_cmd_script(compute_desired(tables, role).objects)}
    if function == "check_ports":
        count = options.pop("peers", 0)
        return check_ports(tables, role, given["minion_id"], count=count).as_dict(full=True)
    if function == "measured_check":
        return _measured_check(given, tables, role, **options)
    if function == "explain":
        packet = explain.parse_packet(options["source"], options.get("port"), options["protocol"])
        return explain.explain_here(packet, tables, role, given["minion_id"])
    if function == "check_zones":
        masters = map(netaddr.IPAddress, options.get("masters", ()))
        found, listed = check_zones(tables, given["minion_id"], masters)
        return {**found.as_dict(full=True), **listed}
    if function == "adopt":
        return _outcome(adopt.adopt(tables, role, **options))
    if function == "prepare":
        return _outcome(prepare.prepare(tables, role, **options))
    if function == "comments":
        would = remove.remove(test=True), prepare.prepare(tables, role, test=True, **options)
        return {"comments": [outcome.comment(test=True) for outcome in would]}
    return _outcome(apply.apply(tables, role, options=commit, **options))


def _node(given):
    return metrics.MetricsNode(given["minion_id"], "default", given["role"])


def _replaced(node, name):
    return node if name is None else dataclasses.replace(node, name=name)


def _metrics(result):
    return {
        "changes": dict(result.changes),
        "problems": [*map(str, result.problems), *result.notices],
        "text": result.text,
    }


def _measured_check(given, tables, role, peers=0):
    """As Salt's module does it: a check that fails has metrics as well."""
    began, problems = time.time(), ()
    try:
        found = check_ports(tables, role, given["minion_id"], count=peers)
    except EngineError as error:
        found, problems = None, error.sentences
    took = time.time() - began
    ran = metrics.check_run("ports", began, took, found, tables, given["minion_id"])
    notices = metrics.note_runs([ran], _node(given), time.time())
    status = found.status.value if found else "UNKNOWN"
    return {"status": status, "problems": problems, "notices": notices}


def _outcome(outcome):
    return {"changes": outcome.changes, "reloads": outcome.reloads, "notices": outcome.notices}


try:
    answer = main(sys.argv[1])
except EngineError as error:
    answer = {"refused": list(error.sentences)}
print(json.dumps(answer))
