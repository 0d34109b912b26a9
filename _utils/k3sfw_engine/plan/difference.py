"""Find the differences between what is wanted and what is observed, layer by layer. Pure.

Status, plan, test mode and apply are this one comparison, read in four ways.
"""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.model.difference import WHOLE, Difference, Differences, Side
from k3sfw_engine.model.firewall_objects import (
    RETURN_PATH,
    FirewalldObject,
    Kind,
    Objects,
    Value,
    only_in,
    ours,
    title,
)
from k3sfw_engine.plan.observed import Observed


def differences_by_layer(
    wanted: Objects, runtime_wanted: Objects, observed: Observed
) -> Differences:
    """Return the differences of all layers: the permanent ones, then runtime, then the kernel."""
    return (
        *_differences("permanent", wanted, observed.permanent),
        *_differences("runtime", runtime_wanted, observed.runtime, lingering=True),
        *observed.drift.differences(),
    )


def _differences(
    layer: str, wanted: Objects, observed: Objects, *, lingering: bool = False
) -> Iterator[Difference]:
    """Compare one layer.

    lingering
        Whether an ipset that is no longer needed may remain, empty, until the next reload.
    """
    gone = obsolete(wanted, observed)
    for key in sorted({*wanted, *gone}, key=title):
        want, have = wanted.get(key), observed.get(key)
        if want is None or have is None:
            if have is None or not (lingering and is_empty_ipset(have)):
                yield Difference(layer, key, WHOLE, missing=want, extra=have)
            continue
        for setting in differing_settings(want, have):
            missing, extra = _sides(want.settings[setting], have.settings.get(setting))
            yield Difference(layer, key, setting, missing, extra)


def differing_settings(want: FirewalldObject, have: FirewalldObject) -> list[str]:
    """Return the settings in which an object differs."""
    if want.settings == have.settings:
        return []  # As most are, most of the time.
    return sorted(
        setting
        for setting in {*want.settings, *have.settings}
        if want.settings.get(setting) != have.settings.get(setting)
    )


def obsolete(wanted: Objects, observed: Objects) -> Objects:
    """Return our objects that the tables no longer need.

    The return path is not one of them: it stays as it was made.
    """
    return {
        key: each
        for key, each in ours(observed).items()
        if key not in wanted and each.name != RETURN_PATH
    }


def is_empty_ipset(each: FirewalldObject) -> bool:
    """Whether it is an ipset without addresses; at runtime only a reload removes such a one."""
    return each.kind is Kind.IPSET and not each.settings["entries"]


def _sides(want: Value, have: Value | None) -> tuple[Side, Side]:
    """What of a setting is missing, and what is extra; of a list, the items."""
    if isinstance(want, tuple) and isinstance(have, tuple):
        return only_in(want, have), only_in(have, want)
    return want, have
