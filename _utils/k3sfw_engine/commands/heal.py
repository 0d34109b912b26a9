"""The command heal: undo an interrupted change, and repair damage to our files and rules.

The lost hostPorts of pods come last, because repairing firewalld may reload it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from k3sfw_engine.errors import EngineError, FirewalldUnavailable
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.healing import repair
from k3sfw_engine.healing.lost_host_ports import heal_host_ports
from k3sfw_engine.host.image import refuse_in_image
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.model.difference import joined
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.transaction.interrupted import pending, recover
from k3sfw_engine.transaction.journal import unfinished


def heal(*, test: bool = False) -> RunResult:
    """Undo an interrupted change, and repair what firewalld or a full disk damaged.

    It needs no tables, and works without a usable firewalld.

    Raises ``EngineError`` if something of ours could not be undone or healed.
    """
    refuse_in_image()
    with nullcontext() if test else only_one():
        entry = unfinished()
        notices: tuple[str, ...] = ()
        if entry is None or not entry.waits:
            notices = pending() if test else tuple(recover())
        with _bus_if_there() as bus:
            health = repair.heal(bus, test=test, files=True)
        try:
            ports = heal_host_ports(test=test)
        except EngineError as error:
            error.append_notes((*notices, *health.sentences))
            raise
    return RunResult(
        joined(health.differences, ports.differences),
        health.reloads,
        (*notices, *health.notices, *ports.notices),
        (*health.healed, *ports.healed),
    )


def _bus_if_there() -> AbstractContextManager[Bus | None]:
    try:
        return Bus()
    except FirewalldUnavailable:
        return nullcontext()
