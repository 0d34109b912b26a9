"""The commands of a printed fix, as an operator types them on the Salt master."""

import re
import shlex

# A command ends with its argument: what follows is an explanation, or the next command.
_COMMAND = re.compile(
    r"\bsalt (?P<node>'[^']+'|[^\s']+) (?P<function>[a-z0-9_]+\.[a-z_]+)"
    r"(?: (?P<argument>'[^']*'(?:\"'\"'[^']*')*|k3s\.[a-z]+))?"
)
_ON_THE_NODE = re.compile(r" -> (\S+?): .*\. Fix: (.*), on the node itself\Z")


def commands_of(problem):
    """``[(node, function, argument…)]`` of a problem's fix, in their order."""
    by_hand = _ON_THE_NODE.search(problem)
    if by_hand:
        return [(by_hand[1], "cmd.run", by_hand[2])]
    fix = problem.partition(". Fix: ")[2]
    return [
        tuple(word for group in found.groups() if group for word in shlex.split(group))
        for found in _COMMAND.finditer(fix)
    ]
