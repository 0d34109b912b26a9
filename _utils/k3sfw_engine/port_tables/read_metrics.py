"""What stands below ``k3s:metrics``: whether and where a node writes its metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.rows import ROOT
from k3sfw_engine.port_tables.defaults import METRICS_FOLDER
from k3sfw_engine.port_tables.findings import Findings, short
from k3sfw_engine.port_tables.single_values import boolean, mapping, refuse_unknown_keys, text

_PATH = f"{ROOT}:metrics"


@dataclass(frozen=True)
class MetricsSettings:
    """Whether and where metrics are written.

    folder
        The folder that node_exporter's textfile collector reads.
    interval
        The seconds between two scheduled checks; 0 if none is scheduled.
    """

    enabled: bool
    folder: PurePosixPath
    interval: int = 0


def read_metrics(tree: object) -> MetricsSettings:
    """Read the settings from the merged tree below ``k3s``; without any, metrics are off.

    Raises ``BadTables`` with every fault.
    """
    top = tree if isinstance(tree, Mapping) else {}
    found = Findings()
    settings = mapping(found, _PATH, top.get("metrics", {}))
    refuse_unknown_keys(found, _PATH, settings, {"enabled", "path"})
    enabled = boolean(found, f"{_PATH}:enabled", settings.get("enabled", False))
    folder = _folder(found, settings.get("path", METRICS_FOLDER))
    if found.faults:
        raise BadTables(found.faults)
    return MetricsSettings(bool(enabled), folder, _interval(top.get("schedule")))


def _folder(found: Findings, value: object) -> PurePosixPath:
    path = f"{_PATH}:path"
    folder = PurePosixPath(text(found, path, value) or METRICS_FOLDER)
    if not folder.is_absolute() or ".." in folder.parts:
        found.fault(
            path,
            f"{short(value)} is not an absolute path",
            f"give the folder of node_exporter's textfile collector, such as {METRICS_FOLDER}",
        )
    return folder


def _interval(schedule: Any) -> int:
    """The interval of the checks; the SLS k3s.schedule reports one that is wrong."""
    if not isinstance(schedule, Mapping) or schedule.get("enabled") is not True:
        return 0
    seconds = schedule.get("check", 0)
    return seconds if isinstance(seconds, int) and not isinstance(seconds, bool) else 0
