"""A second firewalld, apart from the host, that starts with a configuration before the real one.

It knows what to lay over the present files and what an answer means; ``standalone/trial.py``, which
firewalld's own Python runs, knows how firewalld is started in namespaces of its own.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.interpreter import firewalld_python
from k3sfw_engine.firewalld.permanent import FOLDERS, Contents

_NAME = "k3sfw_engine.standalone.trial"


def _program() -> Path:
    """Find the program; it is not imported, as only firewalld's own Python has what it imports."""
    spec = importlib.util.find_spec(_NAME)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)
    return Path(spec.origin)


# Looked for at once: where it is missing, k3sfw refuses to load.
_PROGRAM = _program()

# It takes 0.3 seconds, and 1.6 with 10,000 entries. What takes longer is stuck, or so large that
# the reload itself outlasts every client.
DEADLINE = 20.0


@dataclass(frozen=True)
class Trial:
    """What came of it where nothing was refused; ``notices`` say why it was not tried."""

    tried: bool
    notices: tuple[str, ...] = ()


def try_out(contents: Contents, deadline: float = DEADLINE) -> Trial:
    """Start a firewalld that nobody sees with these files laid over those that are there.

    The host is not touched, whatever becomes of us. Where it cannot be done (no namespaces in a
    container, no answer in time), that is no verdict, and the ``Trial`` says so.

    Raises ``EngineError`` if firewalld would not start with them.
    """
    given = {
        "folder": str(FOLDERS[0]),
        "changes": {
            str(path): None if content is None else base64.b64encode(content).decode()
            for path, content in contents.items()
        },
    }
    try:
        trials = json.loads(_run(json.dumps(given), deadline))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return _not_tried(str(error))
    return judge_trial(trials)


def judge_trial(trials: Mapping[str, Mapping[str, Any]]) -> Trial:
    """What the answers mean.

    candidate
        With the files laid over.
    present
        With the files as they are; where the candidate did not start.
    stock
        With what firewalld brings; where the candidate did not start.

    Raises ``EngineError`` if it is the configuration that does not start.
    """
    candidate = trials["candidate"]
    if candidate.get("starts"):
        return Trial(tried=True)
    stock = trials["stock"]
    if "unable" in candidate or not stock.get("starts"):
        return _not_tried(
            candidate.get("unable") or stock.get("unable") or f"there, {stock['reason']}"
        )
    if candidate["direct"]:
        return _not_tried(
            f"direct.xml may refer to chains and sets that others make, and there it met: "
            f"{candidate['reason']}"
        )
    raise EngineError([_refusal(candidate, trials["present"])])


def _refusal(candidate: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    reason, file = candidate["reason"], candidate["file"]
    at = f" (in {file})" if file else ""
    where = file or "what it names below /etc/firewalld (see firewall-cmd --check-config)"
    untouched = "Nothing was changed, and firewalld was not reloaded"
    sentence = f"firewalld's permanent configuration would not load: {reason}{at}. "
    correct = f"correct {where}"
    if present.get("starts"):
        sentence += "With the files as they are it does, so it is what was to be written. "
        correct = f"correct it in pillar, or {where}"
    elif "unable" not in present:
        sentence += (
            "The files as they are do not load either, so firewalld's next restart fails, whoever "
            "makes it. "
        )
    return f"{sentence}{untouched}. Fix: {correct}, then apply again"


def _not_tried(why: str) -> Trial:
    return Trial(
        tried=False,
        notices=(
            f"the configuration could not be tried out on a second firewalld first ({why}); what "
            "only a start shows, such as overlapping entries in an ipset, would show when "
            "firewalld is reloaded. See journalctl -u firewalld after it",
        ),
    )


# -- running it -----------------------------------------------------------------------------------


def _run(given: str, deadline: float) -> str:
    interpreter = firewalld_python()
    if interpreter is None:
        raise FileNotFoundError("the Python that firewalld runs with is not found")
    process = subprocess.Popen(
        # Isolated from our environment, and leaving no compiled files beside firewalld's.
        [interpreter, "-I", "-B", str(_PROGRAM), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        cwd="/",
        start_new_session=True,
    )
    try:
        output, error = process.communicate(given, timeout=deadline)
    except subprocess.TimeoutExpired as expired:
        raise subprocess.SubprocessError(f"no end within {deadline:.0f} seconds") from expired
    finally:
        # It takes all of its own along.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0 or not output:
        last = error.strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
        raise subprocess.SubprocessError(last[0])
    return output
