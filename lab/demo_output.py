"""Print the demo's steps and results, for a terminal of 80 columns or fewer."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

INDENT = "       "
# Quick steps show no counter.
PATIENCE = 2.0


def title(text: str) -> None:
    """Print the title of a part."""
    print(f"\n== {text}", flush=True)


def text(sentence: str) -> None:
    """Print a sentence between two steps."""
    print(f"\n{sentence}", flush=True)


def command(words: Sequence[str]) -> None:
    """Print a command as a reader would type it at the top of the checkout."""
    print(f"\n{_broken(words)}", flush=True)


def packet(source: str, target: str, is_open: bool, why: str) -> None:
    """Print one connection and its result."""
    print(f"  {source:<10} -> {target:<15} {'open' if is_open else 'refused':<8} {why}", flush=True)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Count seconds on a terminal while the block runs."""
    over = threading.Event()

    def count() -> None:
        began = time.monotonic()
        if over.wait(PATIENCE):
            return
        while not over.wait(1):
            print(f"\r  ... {time.monotonic() - began:.0f} s", end="", flush=True)
        print("\r\033[K", end="", flush=True)

    thread = threading.Thread(target=count)
    if sys.stdout.isatty():
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident:
            thread.join()


def answers(found: Mapping[str, Any]) -> list[str]:
    """Print each node's answer, a line and its problems; return the problems."""
    said: list[str] = []
    for name, answer in found.items():
        status, summary, problems = _shortened(answer)
        print(_wrapped(f"  {name:<4} {status:<8}{summary}", INDENT))
        for problem in problems:
            sentence, fix = divided(problem)
            print(_wrapped(INDENT + sentence, INDENT))
            if fix:
                print(_wrapped(f"{INDENT}Fix: {fix}", INDENT))
        said += problems
    sys.stdout.flush()
    return said


def divided(problem: str) -> tuple[str, str]:
    """Split a problem into its text and its fix, which may be empty."""
    sentence, _, fix = problem.partition("Fix: ")
    return sentence.strip(), fix.strip()


def is_good(answer: Any) -> bool:
    """Whether a report of a check is OK, or all states of a run succeeded."""
    if not isinstance(answer, dict):
        return False
    if "status" in answer:
        return bool(answer["status"] == "OK")
    return all(state["result"] is not False for state in answer.values())


def _shortened(answer: Any) -> tuple[str, str, Sequence[str]]:
    """The status, a summary and the problems of a report or of a state run."""
    if not isinstance(answer, dict):
        return "FAIL", "no answer that can be read", [str(answer)]
    if "status" in answer:
        return answer["status"], answer["summary"], answer["problems"]
    states = list(answer.values())
    failed = [state["comment"] for state in states if state["result"] is False]
    changed = sum(bool(state["changes"]) for state in states)
    return ("FAIL" if failed else "OK"), f"{len(states)} states, {changed} changed", failed


def _width() -> int:
    return min(80, shutil.get_terminal_size().columns)


def _wrapped(line: str, indent: str) -> str:
    return "\n".join(
        part
        for each in line.splitlines()
        for part in textwrap.wrap(
            each,
            _width(),
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _broken(words: Sequence[str]) -> str:
    """Break a command into lines that a shell reads as one command."""
    done, line = "", "#"
    for piece in (piece for word in words for piece in _pieces(word)):
        first, _, rest = piece.partition("\n")
        if len(line) + len(first) + len("  \\") > _width():
            done, line = f"{done}{line} \\\n", "   "
        line += f" {first}"
        if rest:
            done, line = f"{done}{line}\n", rest
    return done + line


def _pieces(word: str) -> list[str]:
    """Quote a word; if it is too long for a line, in pieces between which a line may end."""
    if len(word) + len(INDENT) < _width() or set(word) & set('"$`\\\n'):
        return [shlex.quote(word)]
    return f'"{word}"'.split(" ")
