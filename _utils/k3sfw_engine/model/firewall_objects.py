"""An ipset, zone or policy of firewalld, as data; the names of ours, and the mark that shows it.

Desired and observed objects have the same shape, so that they compare directly: kind, name and
settings, and the settings are those of firewalld's D-Bus interface. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Union, cast

from k3sfw_engine.model.rich_rules import Rule, read_rule

# Lists are kept as sorted tuples: their order means nothing to firewalld.
Item = Union[str, Rule]
Value = Union[str, int, bool, tuple[Item, ...]]
Settings = Mapping[str, Value]

PREFIX = "k3s"


class Kind(str, Enum):
    """The kinds of firewalld objects that we create, each before those that refer to it."""

    IPSET = "ipset"
    ZONE = "zone"
    POLICY = "policy"


Key = tuple[Kind, str]

# Every setting of a kind with firewalld's default, so that an object of ours to which anything was
# added (a port, a service, masquerading) differs, whatever firewalld's version.
DEFAULTS: Mapping[Kind, Settings] = {
    Kind.IPSET: {"short": "", "description": "", "type": "", "options": (), "entries": ()},
    Kind.ZONE: {
        "short": "",
        "description": "",
        "target": "default",
        "services": (),
        "ports": (),
        "icmp_blocks": (),
        "masquerade": False,
        "forward_ports": (),
        "interfaces": (),
        "sources": (),
        "rules_str": (),
        "protocols": (),
        "source_ports": (),
        "icmp_block_inversion": False,
        "forward": False,
    },
    Kind.POLICY: {
        "short": "",
        "description": "",
        "target": "CONTINUE",
        "services": (),
        "ports": (),
        "icmp_blocks": (),
        "masquerade": False,
        "forward_ports": (),
        "rich_rules": (),
        "protocols": (),
        "source_ports": (),
        "priority": 0,
        "ingress_zones": (),
        "egress_zones": (),
    },
}

# firewalld changes these at runtime; all others, and new objects, need a reload.
RUNTIME_SETTINGS: Mapping[Kind, frozenset[str]] = {
    kind: frozenset(key for key, value in defaults.items() if isinstance(value, (tuple, bool)))
    - {"options"}
    for kind, defaults in DEFAULTS.items()
}

# Where a kind has its rich rules.
RICH_RULES: Mapping[Kind, str] = {Kind.ZONE: "rules_str", Kind.POLICY: "rich_rules"}

# The setting of each kind whose items come from the tables; all others depend on the object's name.
CONTENT: Mapping[Kind, str] = {
    Kind.IPSET: "entries",
    Kind.ZONE: "interfaces",
    Kind.POLICY: "rich_rules",
}


@dataclass(frozen=True)
class FirewalldObject:
    """One ipset, zone or policy with all its settings."""

    kind: Kind
    name: str
    settings: Settings

    @property
    def key(self) -> Key:
        """Its kind and its name."""
        return (self.kind, self.name)

    def items(self, setting: str) -> tuple[str, ...]:
        """Return a setting that is a list of texts."""
        return cast("tuple[str, ...]", self.listed(setting))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rich rules; an ipset has none."""
        setting = RICH_RULES.get(self.kind)
        return () if setting is None else cast("tuple[Rule, ...]", self.listed(setting))

    @property
    def content(self) -> tuple[Item, ...]:
        """The items that come from the tables."""
        return self.listed(CONTENT[self.kind])

    def listed(self, setting: str) -> tuple[Item, ...]:
        """Return a setting that is a list, of texts or rules."""
        value = self.settings[setting]
        assert isinstance(value, tuple), setting
        return value

    def with_settings(self, settings: Settings) -> FirewalldObject:
        """Return the same object with some settings changed."""
        return FirewalldObject(self.kind, self.name, {**self.settings, **settings})


Objects = Mapping[Key, FirewalldObject]


def make_object(kind: Kind, name: str, settings: Settings) -> FirewalldObject:
    """Complete the settings with firewalld's defaults, lists sorted."""
    return FirewalldObject(
        kind,
        name,
        {
            key: in_order(value) if isinstance(value, tuple) else value
            for key, value in {**DEFAULTS[kind], **settings}.items()
        },
    )


def in_order(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items sorted by their text, each once."""
    return tuple(sorted(set(items), key=str))


def only_in(items: Iterable[Item], others: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items, in their order, that are not among the others."""
    known = frozenset(others)
    return tuple(item for item in items if item not in known)


def as_plain(settings: Settings) -> dict[str, Any]:
    """Return the settings in the form of JSON: rules as texts, tuples as lists."""
    return {
        setting: list(map(str, value)) if isinstance(value, tuple) else value
        for setting, value in settings.items()
    }


def read_plain(kind: Kind, settings: Mapping[str, Any]) -> Settings:
    """Read settings from the form of JSON."""
    return {setting: read_plain_value(kind, setting, value) for setting, value in settings.items()}


def read_plain_value(kind: Kind, setting: str, value: Any) -> Value:
    """Read one setting from the form of JSON."""
    if not isinstance(value, list):
        plain: Value = value
        return plain
    return tuple(map(read_rule, value) if setting == RICH_RULES.get(kind) else value)


def by_key(objects: Iterable[FirewalldObject]) -> Objects:
    """Return the objects by kind and name, each after those to which it refers."""
    order = list(Kind)
    ranked = sorted(objects, key=lambda each: (order.index(each.kind), each.name))
    return {each.key: each for each in ranked}


@lru_cache(maxsize=1024)
def digest(kind: Kind, name: str) -> str:
    """Return the mark in a description that tells our object from another of the same name.

    It covers the kind and name and not the content: a description cannot change at runtime.
    """
    return hashlib.sha256(f"k3sfw {kind.value} {name}".encode()).hexdigest()[:16]


def is_ours(each: FirewalldObject) -> bool:
    """Whether k3sfw created the object."""
    return digest(each.kind, each.name) in str(each.settings["description"])


ZONE = "k3s"
ROWS = "k3s-rows"
PODS_TO_HOST = "k3s-pods-to-host"
PODS_TO_ANY = "k3s-pods-to-any"
NODES_TO_PODS = "k3s-nodes-to-pods"
BOUND_TO_HOST = "k3s-bound-to-host"
BOUND_TO_ANY = "k3s-bound-to-any"
RETURN_PATH = "k3s-return-path"


def set_name(name: str, family: int) -> str:
    """Return the name of the ipset of these addresses in one family."""
    return f"k3s-{name}-{family}"


def our_object(kind: Kind, name: str, what: str, settings: Settings) -> FirewalldObject:
    """Return an object of ours, with the mark in its description."""
    described: dict[str, Value] = {
        "short": name,
        "description": f"K3s: {what}. Kept by k3sfw from pillar ({digest(kind, name)}).",
    }
    return make_object(kind, name, {**described, **settings})


def ours(objects: Objects) -> Objects:
    """Return the objects that k3sfw created."""
    return {key: each for key, each in objects.items() if is_ours(each)}


def title(key: Key) -> str:
    """Return an object's kind and name in words."""
    return f"{key[0].value} {key[1]}"
