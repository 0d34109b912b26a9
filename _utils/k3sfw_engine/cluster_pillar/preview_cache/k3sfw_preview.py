"""A cache driver of Salt: the master's cache, read and never written.

Pillar files may store what they find: pillar/k3s/nodes.sls remembers who was a node. A preview
compiles files of another time, whose memory has another layout, and must not replace that of today.
"""

from __future__ import annotations

import functools
from typing import Any

from salt.cache import Cache

from k3sfw_engine.cluster_pillar.preview_cache import OF_MASTER

# Salt's loader provides the options, and calls a function of the first name by the other.
__opts__: dict[str, Any]
__func_alias__ = {"list_": "list"}


def init_kwargs(_arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what Salt adds to the arguments of each function below: nothing."""
    return {}


def store(bank: str, key: str, data: object, expires: int | None = None) -> None:
    """Store nothing."""


def flush(bank: str, key: str | None = None) -> None:
    """Remove nothing."""


def clean_expired(bank: str, *_arguments: object, **_options: object) -> None:
    """Remove nothing."""


def fetch(bank: str, key: str) -> Any:
    """Return the data of a key."""
    return _of_master().fetch(bank, key)


def updated(bank: str, key: str) -> Any:
    """Return when a key was stored, in seconds since 1970."""
    return _of_master().updated(bank, key)


def list_(bank: str) -> Any:
    """Return the keys of a bank."""
    return _of_master().list(bank)


def list_all(bank: str, include_data: bool = False) -> Any:
    """Return the keys of a bank with their data."""
    return _of_master().list_all(bank, include_data=include_data)


def contains(bank: str, key: str | None = None) -> Any:
    """Return whether the cache has a bank, or a key in it."""
    return _of_master().contains(bank, key)


@functools.cache
def _of_master() -> Any:
    opts = dict(__opts__)
    return Cache({**opts, "cache": opts[OF_MASTER]})
