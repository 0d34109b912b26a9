"""Keeps a change that waits for confirmation: proven once more, then made permanent."""

from __future__ import annotations

from k3sfw_engine.errors import NotConverged
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.permanent import put_files
from k3sfw_engine.firewalld.runtime import observe, snapshot_of
from k3sfw_engine.model.firewall_objects import ours
from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.standalone.undo.firewalld_process import names_of
from k3sfw_engine.standalone.undo.restore_runtime import restoring
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.journal import PERMANENT, Entry, Journal
from k3sfw_engine.transaction.kept_tables import keep_tables
from k3sfw_engine.transaction.make_permanent import keep_copies
from k3sfw_engine.transaction.still_reachable import Baseline, Proof


def confirm_waiting(entry: Entry, proof: Proof) -> tuple[str, ...]:
    """Keep the change; return notices. The caller holds the lock.

    Raises ``NotConverged`` if it is not in force any more, or cuts this node off; then it goes on
    waiting.
    """
    with Bus() as bus:
        now = snapshot_of(ours(observe(bus).runtime))
    if names_of(now) != names_of(entry.runtime) or list(restoring(entry.runtime, now)):
        raise NotConverged([messages.not_in_force(entry.what, entry.at)])
    connections = (PacketQuestion(host, Protocol.TCP, port) for host, port in entry.record.baseline)
    # How long an answer took before the change is not known any more; the shortest wait must do.
    notices = proof.prove(Baseline(tuple(connections), took=0.0))
    # With its end, the transaction leaves the folder in which they wait.
    tables = entry.tables
    journal = Journal(entry.name)
    journal.note(PERMANENT)
    put_files(entry.files)
    journal.keep()
    return (*notices, *map(str, keep_tables(tables)), *keep_copies())
