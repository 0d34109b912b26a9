"""Which of two versions of k3sfw is the newer one. Pure."""

from __future__ import annotations

import re

_VERSION = re.compile(r"(?P<release>\d+(?:\.\d+)*)(?:\.?(?P<stage>dev|a|b|rc)(?P<number>\d+))?")
# What comes before a release, in this order; a release itself comes after them.
_STAGES = ("dev", "a", "b", "rc", None)


def is_newer(version: str, than: str) -> bool:
    """Whether the first version is newer than the second; one that cannot be read is not."""
    first, second = _key(version), _key(than)
    return first is not None and second is not None and first > second


def _key(version: str) -> tuple[tuple[int, ...], int, int] | None:
    found = _VERSION.fullmatch(version)
    if found is None:
        return None
    numbers = [int(number) for number in found["release"].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), _STAGES.index(found["stage"]), int(found["number"] or 0)
