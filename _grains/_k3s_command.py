"""What a command line runs of K3s: a server or an agent, with which arguments and environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from . import _k3s_shell

ROLES = ("server", "agent")
_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
# A shell can start a shell, but a script that starts itself must end.
_DEEPEST = 3


@dataclass(frozen=True)
class Run:
    """A server or an agent that a command line starts."""

    role: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None

    def variable(self, name: str) -> str:
        """The value of an environment variable; empty if it is not set."""
        return (self.environment or {}).get(name, "")


def find_runs(
    words: list[str],
    environment: Mapping[str, str],
    script: Callable[[str], str],
    depth: int = _DEEPEST,
) -> Iterator[Run]:
    """Find the servers and agents of K3s that these words start, through shells and wrappers.

    script
        Returns the text of the script with this path; empty if it is not one.
    """
    if depth and words and (text := script(words[0])):
        yield from _runs_of_script(text, environment, script, depth)
        return
    own = dict(environment)
    for place, word in enumerate(words):
        name = word.rpartition("/")[2]
        if _ASSIGNMENT.match(word):
            variable, _, value = word.partition("=")
            own[variable] = value
        elif name in _SHELLS and depth:
            yield from _runs_of_shell(words[place + 1 :], own, script, depth)
            return
        elif name in ("k3s", "k3s-server", "k3s-agent"):
            role, arguments = _role_and_arguments(name, words[place + 1 :])
            if role:
                yield Run(role, tuple(arguments), own)
            return


def _role_and_arguments(name: str, words: list[str]) -> tuple[str, list[str]]:
    """The command of the binary, and its other words; no role if it is another command."""
    if name != "k3s":  # a name of the binary that says the command
        role = name.rpartition("-")[2]
        return role, words[1:] if words[:1] == [role] else words
    before: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        before.append(rest.pop(0))
        if before[-1].lstrip("-") in ("data-dir", "d") and rest:
            before.append(rest.pop(0))
    if rest and rest[0] in ROLES:
        return rest[0], before + rest[1:]
    return "", []


def _runs_of_shell(
    words: list[str], environment: Mapping[str, str], script: Callable[[str], str], depth: int
) -> Iterator[Run]:
    """What a shell with these arguments starts."""
    options = [word for word in words if word.startswith("-")]
    others = [word for word in words if not word.startswith("-")]
    if not others:
        return
    inline = any(re.fullmatch(r"-[a-z]*c[a-z]*", option) for option in options)
    text = others[0] if inline else script(others[0])
    yield from _runs_of_script(text, environment, script, depth)


def _runs_of_script(
    text: str, environment: Mapping[str, str], script: Callable[[str], str], depth: int
) -> Iterator[Run]:
    variables = dict(environment)
    _k3s_shell.assign(text, variables, lambda _name: "")
    for words in _k3s_shell.commands(text, variables):
        yield from find_runs(words, variables, script, depth - 1)
