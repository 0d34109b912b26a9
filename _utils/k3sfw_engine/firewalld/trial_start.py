"""A trial start: a second firewalld in isolation loads a configuration before the real one does.

This file knows which files to replace and what an answer means. How firewalld starts in namespaces
of its own is in ``standalone/trial.py``, which runs under firewalld's Python.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k3sfw_engine.errors import EngineError, FirewalldUnavailable, Problem
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.defaults import TRIAL_SECONDS
from k3sfw_engine.firewalld.interpreter import firewalld_python
from k3sfw_engine.firewalld.permanent import FOLDERS, Contents
from k3sfw_engine.host.run_program import ENVIRONMENT

_NAME = "k3sfw_engine.standalone.trial"


def _program() -> Path:
    """Find the program; it is not imported, as only firewalld's own Python has what it imports."""
    spec = importlib.util.find_spec(_NAME)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)
    return Path(spec.origin)


# Looked for at once: where it is missing, k3sfw refuses to load.
_PROGRAM = _program()


@dataclass(frozen=True)
class Trial:
    """A trial without a refusal; if none could be made, ``notices`` say why."""

    tried: bool
    notices: tuple[str, ...] = ()


TryOut = Callable[[Contents], Trial]


@contextmanager
def trial_ahead(*, start: bool) -> Iterator[TryOut]:
    """Return ``try_out`` for the block, with its program started already.

    What the program imports takes it as long as half of the trial, and it is not known yet what is
    tried.

    start
        Whether a trial is likely. A program that is not needed ends with the block.
    """
    waiting: list[subprocess.Popen[str]] = []
    if start:
        # The trial itself says why there can be none.
        with suppress(OSError):
            waiting.append(_start())

    def attempt(contents: Contents) -> Trial:
        return try_out(contents, started=waiting.pop() if waiting else None)

    try:
        yield attempt
    finally:
        for process in waiting:
            _end(process)


def try_out(
    contents: Contents,
    deadline: float = TRIAL_SECONDS,
    started: subprocess.Popen[str] | None = None,
) -> Trial:
    """Start a firewalld in an isolated namespace, with these files in place of the present ones.

    The host is not touched, even if this process dies. A trial that cannot be made (no namespaces
    in a container, no answer in time) is not a verdict, and the ``Trial`` says so.

    started
        The program, if it has been started already.

    Raises ``EngineError`` if firewalld would not start with these files.
    """
    given = {
        "folder": str(FOLDERS[0]),
        "changes": {
            str(path): None if content is None else base64.b64encode(content).decode()
            for path, content in contents.items()
        },
    }
    try:
        trials = json.loads(_run(started or _start(), json.dumps(given), deadline))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return _not_tried(str(error))
    return judge_trial(trials)


def judge_trial(trials: Mapping[str, Mapping[str, Any]]) -> Trial:
    """Judge the answers of up to three starts.

    candidate
        With the new files.
    present
        With the present files, if the candidate did not start.
    stock
        With firewalld's own files, if the candidate did not start.

    Raises ``EngineError`` if the configuration is the reason why it did not start, and
    ``FirewalldUnavailable`` if this firewalld would ignore what is in it.
    """
    candidate = trials["candidate"]
    if candidate.get("no_policies"):
        raise FirewalldUnavailable(
            messages.has_no_policies("its library does not read their files")
        )
    if candidate.get("starts"):
        return Trial(tried=True)
    stock = trials["stock"]
    if "unable" in candidate or not stock.get("starts"):
        return _not_tried(
            candidate.get("unable") or stock.get("unable") or f"there, {stock['reason']}"
        )
    if candidate["no_ipsets"]:
        raise FirewalldUnavailable(messages.has_no_ipsets(candidate["reason"]))
    if candidate["direct"]:
        return _not_tried(
            f"direct.xml may refer to chains and sets of other programs, which are not there: "
            f"{candidate['reason']}"
        )
    raise EngineError([_refusal(candidate, trials["present"])])


def _refusal(candidate: Mapping[str, Any], present: Mapping[str, Any]) -> Problem:
    cause = "new files" if present.get("starts") else "old files"
    if "unable" in present:
        cause = ""
    return messages.trial_failed(candidate["reason"], candidate["file"], cause)


def _not_tried(why: str) -> Trial:
    return Trial(tried=False, notices=(str(messages.not_tried(why)),))


# -- running it -----------------------------------------------------------------------------------


def _start() -> subprocess.Popen[str]:
    interpreter = firewalld_python()
    if interpreter is None:
        raise FileNotFoundError("the Python that firewalld runs with is not found")
    return subprocess.Popen(
        # Isolated from our environment, and leaving no compiled files beside firewalld's.
        [interpreter, "-I", "-B", str(_PROGRAM), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def _run(process: subprocess.Popen[str], given: str, deadline: float) -> str:
    try:
        output, error = process.communicate(given, timeout=deadline)
    except subprocess.TimeoutExpired as expired:
        raise subprocess.SubprocessError(f"no end within {deadline:.0f} seconds") from expired
    finally:
        if process.poll() is None:
            _end(process)
    if process.returncode != 0 or not output:
        last = error.strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
        raise subprocess.SubprocessError(last[0])
    return output


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole group: it may have started firewalld."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
