"""A difference between what is wanted and what a layer has, and its public form, ``changes``.

``plan/difference.py`` finds differences, and code works with these. ``changes`` is for the edge
only: results, the record of a transaction and the history. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Union

from k3sfw_engine.model.firewall_objects import (
    FirewalldObject,
    Key,
    Kind,
    Value,
    as_plain,
    make_object,
    read_plain,
    read_plain_value,
    title,
)

# The setting of a difference of an object as a whole: it is missing, or not wanted.
WHOLE = ""

# An object of firewalld, or the name of anything else that a repair changes.
Subject = Union[Key, str]

Side = Union[Value, FirewalldObject, None]


@dataclass(frozen=True)
class Difference:
    """One setting of one object in which a layer differs from what is wanted.

    missing
        What is wanted and not there: of a list, the items; of an object as a whole, the object.
    extra
        What is there and not wanted.
    """

    layer: str
    subject: Subject
    setting: str = WHOLE
    missing: Side = None
    extra: Side = None

    @property
    def title(self) -> str:
        """The object in words."""
        return self.subject if isinstance(self.subject, str) else title(self.subject)

    @property
    def is_new(self) -> bool:
        """Whether the object as a whole is missing."""
        return self.setting == WHOLE and self.extra is None

    @property
    def reversed(self) -> Difference:
        """The difference with both sides exchanged."""
        return replace(self, missing=self.extra, extra=self.missing)

    @property
    def missing_items(self) -> tuple[object, ...]:
        """What a setting lacks: items, or its one value; nothing for an object as a whole."""
        return _items(self.missing)

    @property
    def extra_items(self) -> tuple[object, ...]:
        """What a setting has and should not have: items, or its one value."""
        return _items(self.extra)

    def __str__(self) -> str:
        if self.setting == WHOLE:
            return f"{self.title} {'is missing' if self.is_new else 'is not wanted'}"
        if isinstance(self.missing, tuple):
            sides = (("lacks", self.missing_items), ("must not have", self.extra_items))
            told = (f"{verb} {', '.join(map(str, items))}" for verb, items in sides if items)
            return f"{self.title} {self.setting} {' and '.join(told)}"
        return f"{self.title} has {self.setting} {self.extra} in place of {self.missing}"


Differences = tuple[Difference, ...]


def _items(side: Side) -> tuple[object, ...]:
    if isinstance(side, tuple):
        return side
    return () if side is None or isinstance(side, FirewalldObject) else (side,)


def joined(one: Differences, other: Differences) -> Differences:
    """Return both; for an object in both, only what ``other`` has."""
    told = {(each.layer, each.subject) for each in other}
    return (*(each for each in one if (each.layer, each.subject) not in told), *other)


def titles_by_layer(differences: Differences) -> dict[str, list[str]]:
    """Return the objects that differ, by layer."""
    titles: dict[str, dict[str, None]] = {}
    for each in differences:
        titles.setdefault(each.layer, {})[each.title] = None
    return {layer: list(names) for layer, names in titles.items()}


# -- the public form ------------------------------------------------------------------------------


def as_changes(differences: Iterable[Difference]) -> dict[str, Any]:
    """Return ``{layer: {object: {setting: {"old": …, "new": …}}}}`` as plain data.

    Of a list, ``old`` has the items that are removed and ``new`` those that are added. An object as
    a whole has ``old`` and ``new`` directly, one of them ``None``.
    """
    changes: dict[str, Any] = {}
    for each in differences:
        at = changes.setdefault(each.layer, {}).setdefault(each.title, {})
        if each.setting != WHOLE:
            at = at.setdefault(each.setting, {})
        at.update(old=_plain(each.extra), new=_plain(each.missing))
    return changes


def _plain(side: Side) -> Any:
    if isinstance(side, FirewalldObject):
        empty = make_object(side.kind, side.name, {}).settings
        differing = sorted((key, it) for key, it in side.settings.items() if it != empty.get(key))
        return as_plain(dict(differing))
    return list(map(str, side)) if isinstance(side, tuple) else side


def read_changes(changes: Mapping[str, Any]) -> Differences:
    """Read differences from their public form, as a record holds it."""
    return tuple(
        difference
        for layer, objects in changes.items()
        for name, settings in objects.items()
        for difference in _read_object(layer, _read_title(name), settings)
    )


def _read_title(text: str) -> Subject:
    kind, _space, name = text.partition(" ")
    return (Kind(kind), name) if kind in [each.value for each in Kind] else text


def _read_object(layer: str, subject: Subject, settings: Mapping[str, Any]) -> Iterator[Difference]:
    if set(settings) == {"old", "new"}:
        missing, extra = (_read_whole(subject, settings[side]) for side in ("new", "old"))
        yield Difference(layer, subject, WHOLE, missing, extra)
        return
    for setting, sides in settings.items():
        missing, extra = (_read_side(subject, setting, sides[side]) for side in ("new", "old"))
        yield Difference(layer, subject, setting, missing, extra)


def _read_whole(subject: Subject, settings: Any) -> Side:
    if isinstance(subject, str) or settings is None:
        value: Side = settings
        return value
    return make_object(*subject, read_plain(subject[0], settings))


def _read_side(subject: Subject, setting: str, value: Any) -> Side:
    if isinstance(subject, str) or value is None:
        side: Side = value
        return side
    return read_plain_value(subject[0], setting, value)
