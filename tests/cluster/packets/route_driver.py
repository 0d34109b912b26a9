"""Runs inside a host: check_routes of the engine, as the module calls it, for each line of stdin.

``route_driver.py MINION_ID PILLAR``. Salt takes seconds for what takes milliseconds, and here every
node is asked again after every cut.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "_utils"))

from k3sfw_engine.checks.report import Report
from k3sfw_engine.checks.routes.route_check import judge_routes
from k3sfw_engine.commands.check_routes import observe_routes
from k3sfw_engine.port_tables.read_pillar import parse_tables

name, pillar = sys.argv[1], json.loads(sys.argv[2])
tables = parse_tables(pillar, minion_id=name, role=pillar["nodes"][name]["role"])
peers = [node.name for node in tables.nodes if node.name != name]
# Shorter than on a real network, because many of the cuts cause silence.
PATIENCE = (0.4, 0.6)
for _line in sys.stdin:
    checks = judge_routes(*observe_routes(tables, name, peers, PATIENCE))
    print(json.dumps(Report(checks, "all peers").as_dict(full=True)), flush=True)
