"""
Every function that Salt offers is documented as ``sys.doc`` shows it, and every example of a
command line, in docstrings and in Markdown, calls a function that exists with arguments it takes.
"""

from __future__ import annotations

import importlib
import inspect
import keyword
import re
import shlex
import textwrap

import pytest
import yaml

from tests.paths import ROOT

# A folder of Salt's loader, and the program that calls its functions.
PROGRAMS = {"_modules": ("salt", "salt-call"), "_runners": ("salt-run",), "_states": ()}
MARKDOWN = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
# The folders whose texts tell an operator what to call.
NAMING = (
    "_grains",
    "_modules",
    "_output",
    "_runners",
    "_states",
    "_utils",
    "lab",
    "pillar",
    "salt",
)
# A word that begins an argument's paragraph, as in Salt's own docstrings: alone on its line.
_ARGUMENT = re.compile(r"^(\w+(?:, \w+)*)\n    \S", re.MULTILINE)
_CLI_EXAMPLE = re.compile(
    r"^CLI Example:\n\n\.\. code-block:: bash\n\n((?: .*\n?|\n)+)", re.MULTILINE
)
_YAML_EXAMPLE = re.compile(r"^\.\. code-block:: yaml\n\n((?: .*\n?|\n)+)", re.MULTILINE)
_COMMAND = re.compile(r"^\s*(?:[$#] )?((?:salt|salt-call|salt-run) .*\bk3sfw\.\w.*)$", re.MULTILINE)
# A function, and not a file such as k3sfw.py or a key of git's such as k3sfw.git.
_NAMED = re.compile(r"\bk3sfw\.(?!conf\b|git\b|json\b|lock\b|prom\b|py\b|rules\b)\w+")
_ASSIGNED = re.compile(r"(\w+)=")


def functions(folder):
    """The public functions of each module in one of Salt's folders, by the name Salt gives them."""
    found = {}
    for path in sorted((ROOT / folder).glob("*.py")):
        module = importlib.import_module(f"{folder}.{path.stem}")
        for name, function in vars(module).items():
            if (
                inspect.isfunction(function)
                and function.__module__ == module.__name__
                and not name.startswith("_")
            ):
                found[f"{path.stem}.{name}"] = function
    return found


FUNCTIONS = {folder: functions(folder) for folder in PROGRAMS}
BY_PROGRAM = {
    program: FUNCTIONS[folder] for folder, programs in PROGRAMS.items() for program in programs
}
CALLED = {
    f"{folder}/{name}": (function, programs)
    for folder, programs in PROGRAMS.items()
    for name, function in FUNCTIONS[folder].items()
    if programs
}
STATES = FUNCTIONS["_states"]


def faults_of_example(line):
    """What is wrong with a command line, as sentences; lines of other modules are not judged."""
    program, *words = shlex.split(line, comments=True)
    names = [word for word in words if re.fullmatch(r"k3sfw\.\w+", word)]
    if not names:
        return []
    name = names[0]
    function = BY_PROGRAM[program].get(name)
    if function is None:
        return [f"{program} knows no {name}"]
    given = [word for word in words[words.index(name) + 1 :] if not word.startswith("-")]
    keywords = [match[1] for match in map(_ASSIGNED.match, given) if match]
    parameters = inspect.signature(function).parameters
    by_name = {name for name, each in parameters.items() if each.kind is not each.VAR_KEYWORD}
    documented = set(arguments_in(inspect.getdoc(function) or ""))
    faults = [
        f"{name} has no argument {word}" for word in keywords if word not in by_name | documented
    ]
    if len(given) > len(by_name):
        faults.append(f"{name} takes {len(by_name)} arguments, not {len(given)}")
    return faults


def arguments_in(doc):
    return [name for match in _ARGUMENT.finditer(doc) for name in match[1].split(", ")]


def has_variable_keywords(function):
    kinds = [each.kind for each in inspect.signature(function).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


@pytest.mark.parametrize("name", [*CALLED, *(f"_states/{name}" for name in STATES)])
def test_a_docstring_says_what_a_function_does_and_explains_every_argument(name):
    function = CALLED[name][0] if name in CALLED else STATES[name.partition("/")[2]]
    doc = inspect.getdoc(function) or ""
    summary = doc.partition("\n\n")[0]
    assert summary and summary.endswith((".", ":")), "no summary"
    parameters = [
        name
        for name, each in inspect.signature(function).parameters.items()
        if each.kind is not each.VAR_KEYWORD
    ]
    explained = arguments_in(doc)
    assert set(parameters) <= set(explained)
    # A word that Python reserves, such as from, can only come in with **kwargs.
    reserved = set(keyword.kwlist) if has_variable_keywords(function) else set()
    assert set(explained) <= set(parameters) | reserved
    assert len(explained) == len(set(explained))


@pytest.mark.parametrize("name", CALLED)
def test_a_docstring_says_what_a_function_returns_and_how_to_call_it(name):
    function, programs = CALLED[name]
    doc = inspect.getdoc(function) or ""
    assert re.search(r"\bReturns? ", doc), "it does not say what it returns"
    examples = _CLI_EXAMPLE.search(doc + "\n")
    assert examples, "no CLI Example"
    lines = textwrap.dedent(examples[1]).strip().splitlines()
    for line in lines:
        assert line.startswith(programs), line
        assert f" {name.partition('/')[2]}" in line, line
        assert faults_of_example(line) == []


@pytest.mark.parametrize("name", STATES)
def test_a_state_has_an_example_whose_arguments_exist(name):
    module = inspect.getmodule(STATES[name])
    docs = [inspect.getdoc(STATES[name]) or "", inspect.getdoc(module) or ""]
    examples = [
        arguments
        for doc in docs
        for block in _YAML_EXAMPLE.findall(doc + "\n")
        for state in yaml.safe_load(block).values()
        for function, arguments in state.items()
        if function == name
    ]
    assert examples, "no example in YAML"
    parameters = {*inspect.signature(STATES[name]).parameters, "require", "name"}
    for arguments in examples:
        assert {key for argument in arguments for key in argument} <= parameters


def test_every_command_line_in_markdown_exists():
    lines = {line for path in MARKDOWN for line in _COMMAND.findall(path.read_text())}
    assert lines
    assert {line: faults for line in lines if (faults := faults_of_example(line))} == {}


def test_every_function_that_a_text_names_exists():
    known = {name for functions_of_folder in FUNCTIONS.values() for name in functions_of_folder}
    sources = [path for folder in NAMING for path in (ROOT / folder).rglob("*.*")]
    unknown = {
        name: str(path.relative_to(ROOT))
        for path in [*MARKDOWN, *sources]
        if path.suffix in (".md", ".py", ".sls", ".yaml", ".example")
        for name in _NAMED.findall(path.read_text())
        if name not in known
    }
    assert unknown == {}


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ("salt '*' k3sfw.plan", []),
        ("salt s1 k3sfw.check_ports from=a1 port=2379 --out=json  # one packet", []),
        ("salt s1 k3sfw.aply", ["salt knows no k3sfw.aply"]),
        (
            "salt s1 k3sfw.plan test=True",
            ["k3sfw.plan has no argument test", "k3sfw.plan takes 0 arguments, not 1"],
        ),
        ("salt-run k3sfw.plan", ["salt-run knows no k3sfw.plan"]),
    ],
)
def test_an_example_that_is_mistyped_is_found(line, faults):
    assert faults_of_example(line) == faults
