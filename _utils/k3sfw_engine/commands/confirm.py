"""The command confirm: keep a change that waits for confirmation."""

from __future__ import annotations

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.confirm_waiting import confirm_waiting
from k3sfw_engine.transaction.journal import unfinished
from k3sfw_engine.transaction.still_reachable import Proof


def confirm(proof: Proof) -> RunResult:
    """Prove the change that waits once more, and make it permanent.

    Raises ``EngineError`` if none waits, or if it cuts this node off.
    """
    with only_one():
        entry = unfinished()
        if entry is None or not entry.waits:
            raise EngineError([messages.nothing_waits()])
        notices = confirm_waiting(entry, proof)
    permanent = tuple(each for each in entry.differences if each.layer == "permanent")
    return RunResult(permanent, notices=notices)
