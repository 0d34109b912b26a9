"""The command prepare: write the rules for a firewalld that is not running yet."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

from k3sfw_engine.checks.lockout.shrunken_node_list import distrust_shrunken_list
from k3sfw_engine.firewalld.dbus import firewalld_is_there
from k3sfw_engine.firewalld.permanent import put_files, read_permanent
from k3sfw_engine.host.dns import resolve_masters
from k3sfw_engine.host.iptables_save_restore import keep_iptables
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.model.firewall_objects import ours
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.return_path import with_return_path
from k3sfw_engine.plan.make_plan import make_plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction.compare import notices_of
from k3sfw_engine.transaction.execute_plan import files_of_plan, keep_copies
from k3sfw_engine.transaction.refuse_lockout import guard_first_start


def prepare(
    tables: Tables,
    role: Role,
    *,
    masters: Iterable[str],
    master_ports: Iterable[int],
    test: bool = False,
) -> RunResult:
    """Write the objects into the permanent configuration of a firewalld that does not run.

    masters
        Names or addresses of the Salt masters whose standing connections shall survive the start.
    master_ports
        The ports that the masters listen on.
    test
        Only tell what would change.

    Raises ``EngineError`` and its kinds.
    """
    if firewalld_is_there():
        return RunResult()
    wanted = with_return_path(compute_desired(tables, role), resolve_masters(masters), master_ports)
    with nullcontext() if test else only_one():
        permanent = read_permanent()
        tables = distrust_shrunken_list(tables, wanted, ours(permanent.objects))
        allowed = guard_first_start(tables, role, wanted, permanent.objects)
        plan = make_plan(
            wanted,
            # There is no runtime; as far as the plan goes, it is what it will be.
            Observed(
                runtime=wanted.objects,
                permanent=permanent.objects,
                damaged=permanent.damaged,
                bindings={"permanent": permanent.bindings},
                zones=permanent.zones,
                users=permanent.users,
            ),
            narrow=not tables.unsure,
        )
        if not test:
            keep_iptables()
            put_files(files_of_plan(plan))  # firewalld reads them at its start.
            allowed += keep_copies(read_permanent().objects)
    in_files = tuple(each for each in plan.differences if each.layer == "permanent")
    return RunResult(in_files, notices=(*notices_of(tables), *plan.notices, *allowed))
