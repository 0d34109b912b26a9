"""Compare the tools, case by case, each on hosts of its own that are equal, all in one run."""

from __future__ import annotations

import datetime
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bench import measure, record, table
from bench.cases import CASES, STORIES, Case
from bench.measure import Counts, Run, TookTooLong
from bench.proof import prove
from bench.record import Figures
from bench.rules import CLIENT, RUNS, SCRIPT, SERVER
from bench.tools.tool import Action, NotHere, Tool, ToolFailed
from k3sfw_engine import __version__
from lab.cluster import Lab
from lab.host import Host

# A case is repeated until its runs have taken so many seconds. The spread of what is slow is small
# beside its distance from the others.
SPENT = 25.0
# After a case that took longer, what comes after it on the same host is not measured.
GIVE_UP = 100.0
TOO_LONG = 200.0


def main(tools: Sequence[Tool], runs: int = RUNS) -> None:
    """Measure every case of these tools, and write record and page."""
    measured = [Measured(tool) for tool in tools]
    reloads: list[float] = []
    for turn in range(runs + 1):
        # In turns, so that all of them meet the machine as it is.
        for one in measured:
            for story in STORIES:
                one.meet(story, counting=turn == 0)
        reloads.append(_reload())
        # After each turn, so that a stop loses none.
        _write(measured, statistics.median(reloads))
        print(f"turn {turn} of {runs} is done", file=sys.stderr)


def _write(measured: Sequence[Measured], reload: float) -> None:
    found = record.read()
    for one in measured:
        for case in CASES:
            found = record.with_figures(found, one.tool.key, case.key, one.figures(case, reload))
    record.write(found)
    # As it is on disk, where figures are rounded.
    table.write(record.read())


class Measured:
    """What one tool has shown so far."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self._runs: dict[str, list[tuple[float, Run]]] = {}
        self._counted: dict[str, list[tuple[float, Run]]] = {}
        self._counts: dict[str, Counts] = {}
        # By case, the seconds that its runs have taken, with what prepared them.
        self._spent: Counter[str] = Counter()
        # By case or action, the reason for missing figures.
        self._reasons = dict(tool.cannot)
        self._version = ""
        try:
            self._version = tool.get()
        except NotHere as reason:
            self._reasons = {case.key: str(reason) for case in CASES}

    def meet(self, story: Sequence[Case], *, counting: bool) -> None:
        """Go through a story on a new host, as far as it is worth it."""
        wanted = [case for case in story if case.title and self._wanted(case, counting)]
        if not wanted:
            return
        prepared = 0.0
        with _hosts() as (host, client):
            for case in story:
                if case.title and case not in wanted:
                    if case.action is Action.DRY_RUN:
                        continue  # it would change nothing for the next one
                    return
                try:
                    run = self._measure(case, host, client, counting=counting)
                except (TookTooLong, ToolFailed) as reason:
                    self._give_up(story, case, str(reason))
                    return
                prepared += run.seconds
                self._spent[case.key] += prepared
                if self._spent[case.key] >= SPENT:
                    # Later turns end here.
                    for later in story[story.index(case) + 1 :]:
                        self._spent[later.key] += SPENT
                if case.title:
                    prepared = 0.0
                if case.rules.by_node and run.seconds > TOO_LONG / 10:
                    self._give_up_larger(case, run)
                if run.seconds > GIVE_UP:
                    self._give_up(story, case, f"it took {run.seconds:.0f} seconds")
                    return

    def figures(self, case: Case, reload: float) -> Figures:
        """The figures of one case."""
        found = Figures(
            tool=self._version,
            day=datetime.date.today().isoformat(),
            version=__version__,
            cores=os.cpu_count() or 0,
        )
        # Those that were counted are slower; they have to do where nothing else was worth it.
        runs = self._runs.get(case.key) or self._counted.get(case.key, [])
        if not runs:
            return replace(found, reason=self._reason(case) or "not measured yet")
        return replace(
            found,
            **vars(self._counts[case.key]),
            seconds=tuple(own for own, _run in runs),
            whole=tuple(run.seconds for _own, run in runs),
            reload=reload,
            tool_mebibytes=statistics.median(run.tool_mebibytes for _own, run in runs),
            firewalld_mebibytes=statistics.median(run.firewalld_mebibytes for _own, run in runs),
        )

    def _measure(self, case: Case, host: Host, client: Host, *, counting: bool) -> Run:
        self.tool.write(host, case.rules)
        argv = self.tool.command(case.action)
        if counting and case.title:
            with measure.counted(host, client) as counts:
                run = measure.run(host, argv, TOO_LONG)
            self._counts[case.key] = counts
        else:
            run = measure.run(host, argv, TOO_LONG)
        own = self.tool.own_seconds(run.printed, run.seconds)
        if counting:
            prove(host, client, case.rules, case.action)
        runs = self._counted if counting else self._runs
        runs.setdefault(case.key, []).append((own, run))
        print(f"{self.tool.key:12}{case.key:18}{own:9.2f}{run.seconds:9.2f}", file=sys.stderr)
        return run

    def _wanted(self, case: Case, counting: bool) -> bool:
        """Whether a case can be done, and has time left unless this is its first time."""
        return not self._reason(case) and (counting or self._spent[case.key] < SPENT)

    def _reason(self, case: Case) -> str:
        asked = (case.key, case.key.split("_")[0], case.action.value)
        return next((self._reasons[name] for name in asked if name in self._reasons), "")

    def _give_up(self, story: Sequence[Case], at: Case, reason: str) -> None:
        """Say why this case, and those after it on the same host, have no figures."""
        for later in story[story.index(at) :]:
            said = reason if later is at else f"{at.title or 'the apply before it'}: {reason}"
            self._reasons.setdefault(later.key, said)

    def _give_up_larger(self, at: Case, run: Run) -> None:
        """Leave out clusters of ten times the nodes, which would take ten times as long."""
        for case in CASES:
            if case.rules.by_node and case.rules.nodes >= 10 * at.rules.nodes:
                said = f"with {at.rules.nodes} nodes an apply took {run.seconds:.0f} seconds"
                self._reasons.setdefault(case.key, said)


@contextmanager
def _hosts() -> Iterator[tuple[Host, Host]]:
    with Lab(f"bench{os.getpid()}", (SERVER, CLIENT), salt=False, ephemeral=True) as lab:
        yield lab.host(SERVER.name), lab.host(CLIENT.name)


def _reload() -> float:
    """The seconds of one reload of a host that has the script's rules."""
    with _hosts() as (host, _client):
        measure.run(host, ["sh", "-c", SCRIPT.read_text()], TOO_LONG)
        return measure.run(host, ["firewall-cmd", "--reload"], TOO_LONG).seconds
