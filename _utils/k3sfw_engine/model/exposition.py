"""Metrics in Prometheus's text format: a metric is declared once, and its samples are data. Pure.

No timestamps are written: node_exporter drops a whole file that has any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

# Whatever a label holds comes from pillar or from minions; a series must not grow with it.
LONGEST_LABEL = 200


@dataclass(frozen=True)
class Metric:
    """A gauge as it is declared: its name, and what it means.

    The help must be the same wherever the metric is written: node_exporter drops the metric if two
    files differ in it (its issues 1885 and 2317).
    """

    name: str
    help: str


@dataclass(frozen=True)
class Sample:
    """One value, for these labels."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def write_exposition(families: Iterable[tuple[Metric, Iterable[Sample]]]) -> str:
    """Return the text that a scrape or the textfile collector reads, in the order given."""
    return "".join(f"{line}\n" for metric, samples in families for line in _lines(metric, samples))


def _lines(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {metric.name} {_escaped(metric.help)}"
    yield f"# TYPE {metric.name} gauge"
    for sample in samples:
        labels = ",".join(f"{name}={_quoted(value)}" for name, value in sample.labels.items())
        name = f"{metric.name}{{{labels}}}" if labels else metric.name
        yield f"{name} {_number(sample.value)}"


def as_label(text: str) -> str:
    """Return what is left of a text in a label; series of texts with the same rest are the same.

    Count by the rest: a file in which a series is there twice is refused.
    """
    # Lone surrogates, which JSON may hold, are not UTF-8: the collector would drop the whole file.
    legal = text.encode("utf-8", "replace").decode("utf-8")
    # A carriage return is legal in a label, but not every tool that shows it survives it.
    return legal.replace("\r", "\n")[:LONGEST_LABEL]


def _quoted(value: str) -> str:
    return '"' + _escaped(as_label(value)).replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    whole = int(value)
    return str(whole) if whole == value else f"{value:.6f}".rstrip("0")
