"""k3s:metrics: read strictly, off without it."""

from __future__ import annotations

import pytest

from k3sfw_engine.errors import BadTables
from k3sfw_engine.port_tables.defaults import METRICS_FOLDER
from k3sfw_engine.port_tables.read_metrics import read_metrics
from tests.unit.port_tables.reading import NESTED

PATH = "k3s:metrics:path"


@pytest.mark.parametrize("tree", [None, [], {}, {"metrics": {}}])
def test_without_settings_metrics_are_off(tree):
    found = read_metrics(tree)
    assert (found.enabled, str(found.folder), found.interval) == (False, METRICS_FOLDER, 0)


def test_the_settings_are_read():
    found = read_metrics(
        {
            "metrics": {"enabled": True, "path": "/var/lib/node_exporter"},
            "schedule": {"enabled": True, "check": 300},
        }
    )
    assert (found.enabled, str(found.folder), found.interval) == (
        True,
        "/var/lib/node_exporter",
        300,
    )


@pytest.mark.parametrize(
    "schedule",
    [None, [], {"check": 300}, {"enabled": False, "check": 300}, {"enabled": True, "check": "5"}],
)
def test_without_a_schedule_there_is_no_interval(schedule):
    assert read_metrics({"schedule": schedule}).interval == 0


@pytest.mark.parametrize(
    ("metrics", "paths"),
    [
        (True, ["k3s:metrics"]),
        (NESTED, ["k3s:metrics"]),
        ({"enabled": "yes"}, ["k3s:metrics:enabled"]),
        ({"path": ""}, [PATH]),
        ({"path": "relative/folder"}, [PATH]),
        ({"path": "/var/../etc"}, [PATH]),
        ({"path": "/var\n/lib"}, [PATH]),
        (
            {"path": 5, "enabled": None, "file": "x"},
            ["k3s:metrics:enabled", "k3s:metrics:file", PATH],
        ),
    ],
)
def test_wrong_settings_are_refused_all_at_once(metrics, paths):
    with pytest.raises(BadTables) as refused:
        read_metrics({"metrics": metrics})
    assert [fault.path for fault in refused.value.faults] == paths
