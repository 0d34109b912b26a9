"""Reads assignments and commands of shell scripts and environment files. Runs none of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$(?:({_NAME})|\{{({_NAME})(?:(:?[-=])([^}}]*))?\}})")
_STATEMENT = re.compile(
    rf"(?:^|[;&{{]|\bthen\b)[ \t]*"
    rf"(?:(?:export[ \t]+|local[ \t]+|readonly[ \t]+)?(?P<name>{_NAME})="
    rf"|(?:\.|source)[ \t]+(?P<file>[^\s;&]+)"
    rf"|:[ \t]+\"?\$\{{(?P<unset>{_NAME}):?=(?P<default>[^}}]*)\}})",
    re.MULTILINE,
)
_ENDS_A_WORD = " \t\r\n;&|()<>"


def assign(text: str, variables: dict[str, str], source: Callable[[str], str]) -> None:
    """Carry out the assignments of a script, in their order and without its conditions.

    source
        Returns the text of the file that a script includes.
    """
    position = 0
    while statement := _STATEMENT.search(text, position):
        position = statement.end()
        if statement["name"]:
            variables[statement["name"]], position = _value(text, position, variables)
        elif statement["unset"]:
            variables.setdefault(statement["unset"], expand(statement["default"], variables))
        else:
            name = expand(statement["file"].strip("\"'"), variables)
            # Without a source of its own: a file that includes itself must end.
            assign(source(name), variables, lambda _name: "")


def environment_file(text: str) -> dict[str, str]:
    """The variables in a file that systemd reads as ``EnvironmentFile=``.

    As systemd's parse_env_file: one assignment a line, quotes as in a shell, nothing is expanded.
    """
    variables: dict[str, str] = {}
    position = 0
    line = re.compile(rf"^[ \t]*({_NAME})[ \t]*=[ \t]*", re.MULTILINE)
    while found := line.search(text, position):
        value, position = _value(text, found.end(), None, "\n\r")
        variables[found[1]] = value.rstrip()
    return variables


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace variables, those without a value by nothing."""

    def value(found: re.Match[str]) -> str:
        name, operator, default = found[1] or found[2], found[3], found[4]
        if operator and not (variables.get(name) if ":" in operator else name in variables):
            return expand(default, variables)
        return variables.get(name, "")

    return _VARIABLE.sub(value, text)


def commands(text: str, variables: Mapping[str, str]) -> list[list[str]]:
    """The commands of a script, as words."""
    found: list[list[str]] = [[]]
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.lstrip().startswith("#"):
            continue
        found.append([])
        for word in _words(expand(line, variables)):
            if word and all(character in ";&|()" for character in word):
                found.append([])
            elif not word or word[0] not in "<>":
                found[-1].append(word)
    return [words for words in found if words]


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:  # a quote that another line closes
        return line.split()


def _value(
    text: str, position: int, variables: Mapping[str, str] | None, ends: str = _ENDS_A_WORD
) -> tuple[str, int]:
    """The value that begins here, without its quotes, and where it ends."""
    value: list[str] = []
    while position < len(text) and text[position] not in ends:
        character = text[position]
        if character in "\"'":
            end = _closing(text, position)
            quoted = text[position + 1 : end]
            if character == '"':
                # In double quotes a backslash protects only these.
                quoted = re.sub(r"\\\n", "", quoted)
                quoted = quoted if variables is None else expand(quoted, variables)
                quoted = re.sub(r'\\([$`"\\])', r"\1", quoted)
            value.append(quoted)
            position = end + 1
        elif character == "\\":
            value.append(text[position + 1 : position + 2].strip("\n"))
            position += 2
        else:
            end = position
            while end < len(text) and text[end] not in ends and text[end] not in "\"'\\":
                end += 1
            plain = text[position:end]
            value.append(plain if variables is None else expand(plain, variables))
            position = end
    return "".join(value), position


def _closing(text: str, opening: int) -> int:
    """Where the quote ends that begins here."""
    quote, position = text[opening], opening + 1
    while position < len(text) and text[position] != quote:
        position += 2 if text[position] == "\\" and quote == '"' else 1
    return min(position, len(text))
