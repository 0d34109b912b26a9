"""The record of a transaction that changed nothing, and a state folder for it."""

from __future__ import annotations

from k3sfw_engine.standalone.undo.record import Process, Record
from k3sfw_engine.transaction import journal

NO_PROCESS = Process(0, "")

NOTHING_CHANGED = Record(
    version="1",
    what="apply",
    job="20260101000000000000",
    changes={},
    reloads=[],
    baseline=[],
    objects=[],
    owner=NO_PROCESS,
    firewalld=NO_PROCESS,
    lock="",
    holder="",
    iptables="",
    files={},
    runtime={},
    others=None,
    names={},
)


def use_state_folder(monkeypatch, folder):
    """Let the journal use this folder in place of the host's own."""
    monkeypatch.setattr(journal, "STATE", folder)
    monkeypatch.setattr(journal, "TRANSACTION", folder / "transaction")
    monkeypatch.setattr(journal, "_HISTORY", folder / "history")
