"""What every function of the master returns: data for a view, and salt-run's exit code.

``salt-run`` exits with ``retcode`` at the top of what a runner returns (salt/cli/run.py), and shows
``data`` with ``outputter``. Raised errors would give 1 and a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from k3sfw_engine.errors import BadTables, EngineError, Problem

FORMS = ("text", "md")


@dataclass(frozen=True)
class Returned:
    """The answer of one function.

    data
        Plain data; ``view`` in it names the function, and so the text that is shown.
    """

    data: Mapping[str, Any]
    retcode: int = 0

    def in_form(self, form: object) -> Returned:
        """Return the same answer, to be shown as ``text`` or as ``md``.

        Raises ``EngineError`` for any other form.
        """
        if form not in FORMS:
            fix = f"form={' or form='.join(FORMS)}; --out=json shows the data"
            raise EngineError([Problem(f"form={form!r} is unknown", fix)])
        return replace(self, data={**self.data, "form": form})

    def as_dict(self) -> dict[str, Any]:
        """Return it in the form that a runner returns."""
        return {"retcode": self.retcode, "outputter": "k3sfw", "data": dict(self.data)}


def could_not(error: EngineError, retcode: int = 1) -> Returned:
    """Every reason why a function could not do its work, and 4 if the tables are bad."""
    bad = isinstance(error, BadTables)
    problems = {"view": "error", "problems": list(error.sentences)}
    return Returned(problems, BadTables.retcode if bad else retcode)
