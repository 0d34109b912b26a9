"""Which fixes may have a button that copies them: a minion chooses the text of its fix. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

_QUOTED = re.compile(r"'[^']*'|\"'\"")
# What means nothing to a shell.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=/@%+ -]*")
_SALT = re.compile(r"salt(-run|-key|-call)? ")
# What any node may suggest for any other: it changes nothing but what the tables say.
_HARMLESS = ("k3sfw", "saltutil", "state")
_FUNCTION = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")


def is_pasteable(fix: str, told_by: Collection[str]) -> bool:
    """Whether a fix is one command of Salt, which does no more than its words say.

    told_by
        The nodes that suggest it. What one would have run in a shell of another is shown, for an
        operator to read first, and has no button.
    """
    if not _SALT.match(fix) or not _PLAIN.fullmatch(_QUOTED.sub("", fix)):
        return False
    try:
        words = shlex.split(fix)
    except ValueError:
        return False
    if words[0] != "salt":
        return len(words) > 1
    targets, rest = [words[1]], words[2:]
    if words[1] == "-L" and rest:
        targets, rest = rest[0].split(","), rest[1:]
    if not rest or not _FUNCTION.fullmatch(rest[0]):
        return False
    return rest[0].partition(".")[0] in _HARMLESS or set(targets) <= set(told_by)
