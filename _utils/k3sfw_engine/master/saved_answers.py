"""The answers of nodes in a file that an operator names, as ``k3sfw.check save=`` wrote it."""

from __future__ import annotations

from k3sfw_engine.cluster_pillar.named_files import full_path
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.read_answers import UnusableAnswers, read_saved
from k3sfw_engine.master.defaults import LARGEST_ANSWERS

_SAVE = "salt-run k3sfw.check save=answers.json"


def saved_answers(argument: str, typed: object) -> CheckedCluster | None:
    """Return the answers in the file, or ``None`` if none is named.

    argument
        The argument that names it, for the errors.

    Raises ``EngineError`` if the file cannot be read, or holds something else.
    """
    if typed in (None, ""):
        return None
    given = f"{argument}={typed}"
    try:
        file = full_path(str(typed))
        if file.stat().st_size > LARGEST_ANSWERS:
            raise EngineError([Problem(f"{given} is larger than any answers", _SAVE)])
        return read_saved(file.read_text(encoding="utf-8"))
    except UnusableAnswers as error:
        found = "; ".join(each.text for each in error.problems)
        problem = f"{given} does not hold saved answers: {found}"
        raise EngineError([Problem(problem, _SAVE)]) from error
    except UnicodeDecodeError as error:
        problem = f"{given} does not hold saved answers: it is not text"
        raise EngineError([Problem(problem, _SAVE)]) from error
    except OSError as error:
        raise EngineError([Problem(f"{given} cannot be read: {error.strerror}", _SAVE)]) from error
