"""The configuration of K3s as K3s puts it together: files, command line, environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from . import _k3s_doubts, _k3s_files
from ._k3s_command import Run

DEFAULT_FILE = "/etc/rancher/k3s/config.yaml"
DEFAULT_DATA = "/var/lib/rancher/k3s"
# Flags with one letter, in files too.
_ALIASES = {"c": "config", "d": "data-dir", "i": "node-ip", "s": "server", "t": "token"}
# Of these all values count; of any other flag the last.
_LISTS = ("node-ip", "node-external-ip", "cluster-cidr", "service-cidr")
_VARIABLES = {
    "data-dir": "K3S_DATA_DIR",
    "server": "K3S_URL",
    "vpn-auth": "K3S_VPN_AUTH",
    "vpn-auth-file": "K3S_VPN_AUTH_FILE",
}
# A value may begin with a dash: all flags of this ending take one.
_TAKES_ANY_VALUE = "-arg"
_ONLY_OF_SERVERS = frozenset(
    (
        "cluster-cidr",
        "cluster-dns",
        "cluster-domain",
        "cluster-init",
        "datastore-endpoint",
        "disable",
        "embedded-registry",
        "flannel-backend",
        "https-listen-port",
        "service-cidr",
        "tls-san",
        "write-kubeconfig-mode",
    )
)
_NULL = ("", "~", "null", "Null", "NULL")
_MERGE_TAG = "tag:yaml.org,2002:merge"
# Merges can be nested, and a few lines of them can stand for millions.
_DEEPEST_MERGE, _MOST_MERGES = 3, 8

Pairs = list[tuple[str, list[str]]]


class Refused(Exception):
    """K3s does not read this file."""


@dataclass(frozen=True)
class Configuration:
    """The values of flags, in the order in which K3s reads them.

    complete
        Whether K3s starts with it, as far as these grains know.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    complete: bool = True

    def last(self, name: str) -> str:
        """The value that counts; empty if there is none."""
        return self.values.get(name, ("",))[-1]

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a list; empty if there is none."""
        return self.values.get(name, ())

    def is_set(self, name: str) -> bool:
        """Whether a switch is on."""
        return name in self.values and self.last(name).lower() not in ("false", "f", "0")

    @property
    def data(self) -> str:
        """The data folder."""
        folder = self.last("data-dir")
        return folder.rstrip("/") if folder.startswith("/") else DEFAULT_DATA


def read_configuration(root: Path, run: Run) -> Configuration:
    """Return the configuration of this server or agent."""
    doubts: list[str] = []
    pairs, complete = _from_files(root, run, doubts)
    pairs += _from_words(run.arguments)
    values: dict[str, tuple[str, ...]] = {}
    for name, variable in _VARIABLES.items():
        if content := run.variable(variable):
            values[name] = (content,)
    for name, found in pairs:
        # Lists add up over files and command line: "override, or if a slice append to".
        # https://github.com/k3s-io/k3s/blob/main/pkg/configfilearg/parser.go
        values[name] = (*values.get(name, ()), *found) if name in _LISTS else tuple(found)
    return Configuration(
        {name: found for name, found in values.items() if found}, tuple(doubts), complete
    )


def _from_files(root: Path, run: Run, doubts: list[str]) -> tuple[Pairs, bool]:
    """What the files say, and whether K3s reads all of them."""
    named = run.variable("K3S_CONFIG_FILE") or _config_flag(run.arguments)
    base = named or DEFAULT_FILE
    if base.lower().startswith(("http://", "https://")):
        doubts.append(_k3s_doubts.configuration_is_remote(base))
        return [], False
    merged: dict[str, list[str]] = {}
    complete = True
    for path in _files(root, base):
        place = _k3s_files.inside(root, path)
        if path != base and place.is_symlink() and not place.exists():
            # os.ReadFile's answer reads as "there is no configuration".
            doubts.append(_k3s_doubts.ignored_by_dangling_link(path))
            return [], not named
        try:
            pairs = _pairs(place, path, doubts)
        except Refused as refused:
            doubts.append(_k3s_doubts.not_readable(path, str(refused)))
            complete = False
            continue
        if pairs is None:
            if path == base and named:
                doubts.append(_k3s_doubts.configuration_is_missing(path))
                complete = False
            continue
        _merge(merged, pairs)
        foreign = _ONLY_OF_SERVERS.intersection(key.rstrip("+") for key, _found in pairs)
        if run.role == "agent" and foreign:
            doubts.append(_k3s_doubts.not_for_agents(path, foreign))
    return [(_ALIASES.get(name, name), found) for name, found in merged.items()], complete


def _merge(merged: dict[str, list[str]], pairs: Pairs) -> None:
    for key, found in pairs:
        name = key[:-1] if key.endswith("+") else key
        if key != name and name in merged:
            merged[name] = merged[name] + found
        else:
            merged[name] = found


def _files(root: Path, base: str) -> list[str]:
    folder = _k3s_files.inside(root, f"{base}.d")
    more = [
        name
        for name in _k3s_files.names(folder)
        if name.lower().endswith((".yaml", ".yml")) and not (folder / name).is_dir()
    ]
    return [base, *(f"{base}.d/{name}" for name in more)]


def _config_flag(words: Sequence[str]) -> str:
    """The file that the command line names, found as K3s finds it: by these forms only."""
    for place, word in enumerate(words):
        if word in ("--config", "-c"):
            return words[place + 1] if len(words) > place + 1 else ""
        if word.startswith(("--config=", "-c=")):
            return word.partition("=")[2]
    return ""


def _from_words(words: Sequence[str]) -> Pairs:
    """The flags on a command line. Go takes one dash or two, and ``=`` or the next word."""
    pairs: Pairs = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "--":
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = _ALIASES.get(name, name)
        if not equals:
            takes_next = rest and (not rest[0].startswith("-") or name.endswith(_TAKES_ANY_VALUE))
            value = rest.pop(0) if takes_next else ""
        pairs.append((name, [value]))
    return pairs


def _pairs(place: Path, path: str, doubts: list[str]) -> Pairs | None:
    """Keys and values of a file in their order, duplicates too; None if there is no file."""
    content = _k3s_files.read(place)
    if content is None:
        if not place.exists():
            return None
        raise Refused("it is not a file, too long, or not readable")
    node = _first_document(content)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in _NULL):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise Refused("it is not a map")
    if any(_is_merge(key) for key, _value in node.value):
        doubts.append(_k3s_doubts.merge_key(path))
    return list(_pairs_of(node, _DEEPEST_MERGE))


def _pairs_of(node: yaml.MappingNode, depth: int) -> Iterator[tuple[str, list[str]]]:
    own: Pairs = []
    below: list[yaml.Node] = []
    for key, value in node.value:
        if _is_merge(key):
            below += value.value if isinstance(value, yaml.SequenceNode) else [value]
        elif isinstance(key, yaml.ScalarNode):
            own.append((key.value, _texts(value)))
    names = {key for key, _found in own}
    # What a merge stands for comes first, and only where the map itself says nothing.
    for each in below[:_MOST_MERGES]:
        if depth and isinstance(each, yaml.MappingNode):
            yield from (pair for pair in _pairs_of(each, depth - 1) if pair[0] not in names)
    yield from own


def _is_merge(key: yaml.Node) -> bool:
    return bool(key.tag == _MERGE_TAG)


def _texts(node: yaml.Node) -> list[str]:
    """The values of a list, or the one value."""
    items: Iterable[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return [_text(item) for item in items]


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "map[]"  # as Go prints it; no flag of interest takes it
    # Scalars stay text, as for K3s: YAML 1.1 would read 2001:10:0:1 as a number.
    return "" if node.style is None and node.value in _NULL else str(node.value)


def _first_document(content: bytes) -> yaml.Node | None:
    # go-yaml is libyaml translated, tabs after a colon included, which PyYAML's own scanner
    # refuses; and it reads the first document only.
    loader = getattr(yaml, "CSafeLoader", None)
    try:
        if loader is not None:
            return next(iter(yaml.compose_all(content, Loader=loader)), None)
        text = "\n".join(_without_tabs(line) for line in content.decode("utf-8").split("\n"))
        return next(iter(yaml.compose_all(text, Loader=yaml.SafeLoader)), None)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(" ".join(str(error).split())) from error


def _without_tabs(line: str) -> str:
    stripped = line.lstrip(" ")
    return line[: len(line) - len(stripped)] + stripped.replace("\t", " ")
