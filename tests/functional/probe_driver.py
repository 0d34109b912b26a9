"""Run inside a host: asks ``[[address, protocol, port], …]`` from stdin, answers as JSON."""

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

from k3sfw_engine.answers import Question
from k3sfw_engine.probe import ask
from k3sfw_engine.rows import Protocol

asked = [
    Question(address, Protocol(protocol), port) for address, protocol, port in json.load(sys.stdin)
]
began = time.monotonic()
answers = ask(asked)
json.dump(
    {
        "seconds": time.monotonic() - began,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "answers": [
            {
                "outcome": answer.outcome.value,
                "evidence": answer.evidence,
                "sender": answer.icmp.sender if answer.icmp else "",
                "icmp": f"{answer.icmp.kind}/{answer.icmp.code}" if answer.icmp else "",
                "source": answer.source,
            }
            for answer in answers
        ],
    },
    sys.stdout,
)
