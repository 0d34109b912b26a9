"""A line now and then that tells how far each suite is, for a terminal and for a log alike."""

import time
from collections import Counter

import pytest

SUITES = ("cluster", "functional", "unit")
# How long a test of each suite takes, compared with the others.
WEIGHTS = {"cluster": 4, "functional": 3, "unit": 0.05}
# The longest time without a line.
SILENCE = 15


class Progress:
    """Takes the place of pytest's dots: ``42%  cluster 40/140  functional 90/200  …``."""

    def __init__(self, config):
        self._config = config
        self._total, self._done = Counter(), Counter()
        self._began = time.monotonic()
        self._told_at, self._told = self._began, -1

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node, ids):
        """Learn what there is to do."""
        if not self._total:
            self._total.update(map(_suite, ids))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report):
        """Write no dots or letters: what failed is named, the rest is counted."""
        if report.passed:
            return ("passed" if report.when == "call" else ""), "", ""
        if report.skipped:
            return "skipped", "", "SKIPPED"
        return ("failed", "", "FAILED") if report.when == "call" else ("error", "", "ERROR")

    def pytest_runtest_logreport(self, report):
        """Count what has ended, and name at once what failed."""
        if report.failed:
            self._write(f"{'FAILED' if report.when == 'call' else 'ERROR'} {report.nodeid}")
        if report.when != "teardown":
            return
        self._done[_suite(report.nodeid)] += 1
        percent = int(100 * _weight(self._done) / _weight(self._total)) if self._total else 0
        if percent // 5 > self._told or time.monotonic() - self._told_at > SILENCE:
            self._told, self._told_at = percent // 5, time.monotonic()
            self._write(self._line(percent))

    def _line(self, percent):
        suites = [
            f"{suite} {self._done[suite]}/{self._total[suite]}"
            for suite in (*SUITES, *sorted(set(self._total) - set(SUITES)))
            if self._total[suite]
        ]
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return "  ".join([f"{percent:3}%", *suites, f"{minutes}:{seconds:02}"])

    def _write(self, line):
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        reporter.ensure_newline()
        reporter.write_line(line)


def _weight(tests):
    return sum(count * WEIGHTS.get(suite, 1) for suite, count in tests.items())


def _suite(nodeid):
    """The folder below tests that a test is in."""
    return nodeid.split("/")[1]
