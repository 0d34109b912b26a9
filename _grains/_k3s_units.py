"""The systemd units that may run K3s, as systemd reads them: files, drop-ins, environment."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import _k3s_command, _k3s_files, _k3s_shell
from ._k3s_command import Run

# In systemd's order: the first folder that holds a unit's name decides what the unit is.
# https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html
FOLDERS = (
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
)
_LINKS = (".wants", ".requires", ".upholds")
_SUFFIX = ".service"
# systemd.service(5), systemd.exec(5): what may stand before the path of a program.
_PREFIXES = "@-:+!|"
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|(.)|$)", re.DOTALL)


@dataclass(frozen=True)
class Service:
    """A service that may run K3s.

    runs
        The servers and agents that it starts; none if that could not be found out.
    enabled
        Whether it starts with the host.
    """

    name: str
    runs: tuple[Run, ...]
    enabled: bool


def systemd_services(root: Path, also: Iterable[str] = ()) -> list[Service]:
    """Return the units that run K3s, and those named as the installer names them.

    also
        Names of units that run it, whatever they are called.
    """
    enabled = _enabled(root)
    names = {name for folder in FOLDERS for name in _k3s_files.names(root / folder)}
    wanted = {name for name in names if _is_of_k3s(name)} | set(also)
    # A template runs as its instances.
    instances = {name for name in enabled if "@" in name and _is_of_k3s(name)}
    templates = {_template(name) for name in instances}
    services = []
    for name in sorted((wanted | instances) - templates):
        text = _unit_file(root, name)
        if text is not None:
            runs = tuple(_runs(root, name, [text, *_drop_ins(root, name)]))
            services.append(Service(name, runs, name in enabled))
    return services


def _is_of_k3s(name: str) -> bool:
    return name.startswith("k3s") and name.endswith(_SUFFIX)


def _template(name: str) -> str:
    """The template of an instance; the name itself if it is not one."""
    prefix, at, _instance = name.partition("@")
    return f"{prefix}@{_SUFFIX}" if at else name


def _enabled(root: Path) -> set[str]:
    """The names of units that other units start."""
    return {
        name
        for folder in FOLDERS
        for group in _k3s_files.names(root / folder)
        if group.endswith(_LINKS)
        for name in _k3s_files.names(root / folder / group)
    }


def _unit_file(root: Path, name: str) -> str | None:
    """The text of a unit; None if there is none, or if it is masked."""
    for candidate in dict.fromkeys((name, _template(name))):
        for folder in FOLDERS:
            path = root / folder / candidate
            if os.path.lexists(path):
                content = _k3s_files.read(path)
                if content is None and os.path.isfile(path):
                    return ""  # There is a unit, but what it runs cannot be read.
                # A masked unit is a link to /dev/null, or an empty file.
                return (content or b"").decode("utf-8", "replace") or None
    return None


def _drop_ins(root: Path, name: str) -> Iterator[str]:
    """The texts of a unit's drop-ins, in the order in which systemd reads them."""
    stem = name[: -len(_SUFFIX)]
    prefix = stem.partition("@")[0]
    parts = prefix.split("-")
    # k3s-agent.service also has the drop-ins of k3s-.service, and all services those of service.d.
    shorter = ["-".join(parts[:count]) + "-" for count in range(len(parts) - 1, 0, -1)]
    owners = [name, _template(name), *(f"{each}{_SUFFIX}" for each in shorter), "service"]
    found: dict[str, Path] = {}
    for owner in owners:
        for folder in FOLDERS:
            place = root / folder / f"{owner}.d"
            for file in _k3s_files.names(place):
                if file.endswith(".conf"):
                    found.setdefault(file, place / file)
    for file in sorted(found):
        yield _k3s_files.read_text(found[file])


def _runs(root: Path, name: str, texts: Iterable[str]) -> Iterator[Run]:
    settings: dict[str, list[str]] = {"ExecStart": [], "Environment": [], "EnvironmentFile": []}
    for section, key, value in (each for text in texts for each in _settings(text)):
        if section == "Service" and key in settings:
            # An empty value removes those before it.
            settings[key] = [*settings[key], value] if value else []
    environment: dict[str, str] = {}
    for value in settings["Environment"]:
        for word in split(_specified(value, name)):
            variable, _, content = word.partition("=")
            environment[variable] = content
    # systemd reads the files when it starts the service, over Environment=.
    for value in settings["EnvironmentFile"]:
        path = _k3s_files.inside(root, _specified(value, name).lstrip("-"))
        for file in _matching(path):
            environment.update(_k3s_shell.environment_file(_k3s_files.read_text(file)))
    for value in settings["ExecStart"]:
        words = split(_specified(value.lstrip(_PREFIXES), name))
        words = [word for each in words for word in _expanded(each, environment)]
        if "@" in value[: len(value) - len(value.lstrip(_PREFIXES))]:
            del words[1:2]  # the name that the program is given
        yield from _k3s_command.find_runs(words, environment, lambda path: _script(root, path))


def _matching(path: Path) -> list[Path]:
    """The files that a path with wildcards in its last part stands for."""
    if not any(each in path.name for each in "*?["):
        return [path]
    names = _k3s_files.names(path.parent)
    return [path.parent / name for name in fnmatch.filter(names, path.name)]


def _script(root: Path, path: str) -> str:
    """The text of a shell script; empty for any other program."""
    content = _k3s_files.read(_k3s_files.inside(root, path)) if path.startswith("/") else None
    is_script = content is not None and re.match(rb"#!\s*\S*\b(env\s+)?\w*sh\b", content)
    return content.decode("utf-8", "replace") if content and is_script else ""


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of each line; a line that ends in a backslash goes on in the next."""
    section, pending = "", ""
    for line in text.splitlines():
        if line.lstrip()[:1] in ("#", ";"):
            continue  # also between a line and its continuation
        if line.endswith("\\"):
            pending += f"{line[:-1]} "
            continue
        line, pending = (pending + line).strip(), ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()


def _specified(text: str, name: str) -> str:
    """Replace systemd's specifiers in a value of this unit."""
    stem = name[: -len(_SUFFIX)] if name.endswith(_SUFFIX) else name
    prefix, _, instance = stem.partition("@")
    known = {"n": name, "N": stem, "p": prefix, "P": prefix, "i": instance, "I": instance}
    known.update({"%": "%", "E": "/etc", "S": "/var/lib", "t": "/run", "h": "/root", "u": "root"})
    known.update(dict.fromkeys("jJ", prefix.rpartition("-")[2]))
    return re.sub(r"%(.)", lambda found: known.get(found[1], found[0]), text)


def _expanded(word: str, environment: dict[str, str]) -> list[str]:
    """A word of ExecStart with its variables; a word that is a variable becomes several words."""
    whole = re.fullmatch(r"\$([A-Za-z_][A-Za-z0-9_]*)", word)
    if whole:
        return split(environment.get(whole[1], ""))
    text = re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], ""), word)
    return [text.replace("$$", "$")]


def split(text: str) -> list[str]:
    """Split a value into words by systemd's rules; none if a quote is not closed."""
    words: list[str] = []
    word: str | None = None
    quote, position = "", 0
    while position < len(text):
        character = text[position]
        if character == "\\" and (escape := _ESCAPE.match(text, position)):
            word = (word or "") + _unescaped(escape)
            position = escape.end()
            continue
        if quote:
            if character == quote:
                quote = ""
            else:
                word = (word or "") + character
        elif character in "\"'":
            quote, word = character, word or ""
        elif not character.isspace():
            word = (word or "") + character
        elif word is not None:
            words.append(word)
            word = None
        position += 1
    if word is not None:
        words.append(word)
    return [] if quote else words


def _unescaped(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    if escape[2]:
        return chr(int(escape[2], 8))
    return _ESCAPES.get(escape[3], escape[3]) if escape[3] else ""
