"""The command that the refusal of a downgrade prints, as Salt reads it."""

import shlex

from salt.utils.args import parse_input

from k3sfw_engine.transaction.messages import made_by_newer


def test_the_printed_command_allows_the_downgrade_and_is_not_a_dry_run():
    problem = str(made_by_newer("99.0.0", "0.3.0"))
    _before, _command, arguments = problem.rpartition("salt-call k3sfw.apply ")
    assert parse_input(shlex.split(arguments)) == [{"__kwarg__": True, "allow_downgrade": True}]
