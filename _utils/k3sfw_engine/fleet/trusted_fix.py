"""Which fixes an operator may paste without reading: a minion chooses the text of its fix. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

_QUOTED = re.compile(r"'[^']*'|\"'\"")
# What means nothing to a shell.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=/@%+ -]*")
_SALT = re.compile(r"salt(-run|-key|-call)? ")
_FUNCTION = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
# What any node may suggest for any other: these put the tables in force, heal, or look.
_FOR_ANY_NODE = re.compile(
    r"state\.apply k3s(\.(firewall|routes|requirements|schedule|metrics))?"
    r"|k3sfw\.(apply|heal|status|plan|check|check_ports|check_routes|check_zones)( \w+=[\w.,/:-]+)*"
    r"|saltutil\.(refresh_grains|refresh_pillar|sync_all)"
)
# On the master, any node may suggest to look. A key is deleted only after a question.
_ON_THE_MASTER = re.compile(
    r"salt-run k3sfw\.(check|test|diff|who|reach|explain|tables)( \w+=[\w.,/:-]+)*"
    r"|salt-key -d [\w.][\w.-]*"
)
# A value that would have it write a file.
_WRITES = re.compile(r"(save|junit|prometheus|html|output)=")


def is_trusted(fix: str, told_by: Collection[str]) -> bool:
    """Whether a fix is one command of Salt that does no more than its words say.

    told_by
        The nodes that suggest it. One may suggest anything for itself, as it can do all of that
        itself; for another node only what puts the tables in force, heals or looks.
    """
    if not _SALT.match(fix) or not _PLAIN.fullmatch(_QUOTED.sub("", fix)):
        return False
    try:
        words = shlex.split(fix)
    except ValueError:
        return False
    if words[0] != "salt":
        return bool(_ON_THE_MASTER.fullmatch(fix)) and not _WRITES.search(fix)
    targets, rest = _targets(words)
    if not rest or not _FUNCTION.fullmatch(rest[0]):
        return False
    # An option of salt would be read wherever it stands.
    if any(word.startswith("-") for word in (*targets, *rest)):
        return False
    return bool(_FOR_ANY_NODE.fullmatch(" ".join(rest))) or set(targets) <= set(told_by)


def suggested_only(fix: str, told_by: Collection[str]) -> bool:
    """Whether a fix is a command that is not trusted: its nodes suggest it, and the check does not.

    A fix in words is read before anything is typed.
    """
    return bool(_SALT.match(fix)) and not is_trusted(fix, told_by)


def _targets(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The nodes that ``salt`` is told to ask, and the words behind them."""
    if words[1] == "-L":
        return "".join(words[2:3]).split(","), words[3:]
    return [words[1]], words[2:]
