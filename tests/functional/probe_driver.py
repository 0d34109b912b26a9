"""Runs inside a host: asks ``[[address, protocol, port], …]`` from stdin, answers as JSON.

A fourth word is the place of the question whose answer spares this one.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

import psutil

from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.probes.connect import ask

given = json.load(sys.stdin)
asked = [
    PacketQuestion(address, Protocol(protocol), port) for address, protocol, port, *_spared in given
]
spared_by = {place: each[3] for place, each in enumerate(given) if each[3:]}
began = time.monotonic()
answers = ask(asked, spared_by=spared_by)


def is_socket(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    except FileNotFoundError:  # The one that listed the folder.
        return False


json.dump(
    {
        "seconds": time.monotonic() - began,
        # Of this process while it lives: its end would close all of them.
        "sockets": len([each for each in os.listdir("/proc/self/fd") if is_socket(each)]),
        "listening": [
            each.laddr.port for each in psutil.Process().net_connections() if not each.raddr
        ],
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
