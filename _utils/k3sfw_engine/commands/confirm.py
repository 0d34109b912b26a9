"""The command confirm: keep a change that waits for confirmation."""

from __future__ import annotations

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.transaction.execute_plan import confirm_change
from k3sfw_engine.transaction.journal import unfinished
from k3sfw_engine.transaction.still_reachable import Proof


def confirm(proof: Proof) -> RunResult:
    """Keep the change that waits to be confirmed.

    Raises ``EngineError`` if none does, or if it cuts this node off.
    """
    with only_one():
        entry = unfinished()
        if entry is None or not entry.waits:
            raise EngineError(
                [
                    "no change waits to be confirmed; one that waited too long was undone. Fix: "
                    "see k3sfw.history, then apply again"
                ]
            )
        notices = confirm_change(entry, proof)
    permanent = tuple(each for each in entry.differences if each.layer == "permanent")
    return RunResult(permanent, notices=notices)
