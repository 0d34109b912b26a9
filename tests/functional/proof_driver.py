"""Runs inside a host: one proof, with the answers of a master as they are given.

``proof_driver.py < {"masters": [[address, port], …], "answers": [seconds or null, …], "between":
[command]}``: an answer that is null does not come in time. ``between`` runs in place of a change.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

import netaddr

from k3sfw_engine.errors import NotConverged
from k3sfw_engine.transaction.still_reachable import Proof

given = json.load(sys.stdin)
answers, waits = iter(given["answers"]), []


def round_trip(seconds):
    waits.append(seconds)
    answer = next(answers)
    if answer is None:
        return "no answer"
    time.sleep(answer)
    return ""


proof = Proof(
    masters=lambda: [(netaddr.IPAddress(host), port) for host, port in given["masters"]],
    round_trip=round_trip,
)
before = proof.baseline()
subprocess.run(given["between"], check=True)
try:
    outcome = {"notices": proof.prove(before)}
except NotConverged as error:
    outcome = {"lost": error.sentences}
print(json.dumps({**outcome, "waits": waits, "spread": before.spread}))
