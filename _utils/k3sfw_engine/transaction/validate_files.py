"""Validates the files of a plan where no firewalld runs that would do it, and says how.

By a trial start of a second firewalld, or else by firewalld's own check, which makes no rules.
"""

from __future__ import annotations

from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.interpreter import firewalld_python
from k3sfw_engine.firewalld.offline_check import check_offline
from k3sfw_engine.firewalld.permanent import Contents
from k3sfw_engine.firewalld.trial_start import try_out


def validate_files(contents: Contents) -> tuple[str, ...]:
    """Validate the configuration with these files in place of the present ones; return how.

    Nothing is written.

    Raises ``EngineError`` if firewalld would not start with it.
    """
    if firewalld_python() is None:
        return (str(messages.not_validated()),)
    trial = try_out(contents)
    if trial.tried:
        return (messages.validated_by_trial(),)
    if check_offline(contents):
        return (messages.validated_by_check(),)
    return trial.notices
