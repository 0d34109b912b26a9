"""The commands that messages suggest, quoted once and here only. Pure."""

from __future__ import annotations

import shlex

from k3sfw_engine.model.interfaces_and_routes import MAIN, Route

# What firewall-cmd is told of each layer.
OPTIONS = {"runtime": "", "permanent": "--permanent "}


def typed(node: str, *commands: str) -> str:
    """What to type at the master to run these commands on a node."""
    return f"salt {shlex.quote(node)} cmd.run {shlex.quote(' && '.join(commands))}"


def ip_route(verb: str, family: int, words: str) -> str:
    """A command of ip that changes routes."""
    return f"ip {'-6 ' if family == 6 else ''}route {verb} {words}"


def spec(route: Route) -> str:
    """A route in the words that ip takes."""
    words = [] if route.kind == "unicast" else [route.kind]
    words.append(str(route.destination))
    if len(route.hops) == 1:
        words += [f"via {route.gateway}"] if route.gateway else []
        words += [f"dev {route.device}"] if route.device else []
    words += [f"metric {route.metric}"] if route.metric else []
    words += [f"table {route.table}"] if route.table != MAIN else []
    return " ".join(words)


def delete(route: Route) -> str:
    """The command that takes a route away."""
    return ip_route("del", route.destination.version, spec(route))
