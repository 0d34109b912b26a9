#!py
"""
Schedules a highstate every ``interval`` seconds, which keeps the node in step with the tables, and
``k3sfw.heal`` every ``heal`` seconds, as ``k3s:schedule`` in pillar says. Where the node writes
metrics (``k3s:metrics``), ``k3sfw.check`` runs every ``check`` seconds.
"""

from pathlib import Path

HIGHSTATE, HEAL, CHECK = "k3s_highstate", "k3s_heal", "k3s_check"
# The same in every run: exporters make a label of it.
HEADLINE = "k3s:schedule in pillar is wrong"
SETTINGS = {
    "enabled": ("true or false", lambda value: isinstance(value, bool)),
    "interval": ("whole seconds, 1 or more", lambda value: type(value) is int and value >= 1),
    "splay": ("whole seconds, 0 or more", lambda value: type(value) is int and value >= 0),
    "heal": ("whole seconds, 1 or more", lambda value: type(value) is int and value >= 1),
    "check": ("whole seconds, 1 or more", lambda value: type(value) is int and value >= 1),
}


def run():
    schedule = _merged("schedule")
    faults = _faults(schedule)
    if faults:
        # In the name as well: this state replaces its comment in test mode.
        failure = [{"name": "; ".join(faults)}, {"comment": "\n".join([HEADLINE, *faults])}]
        return {"k3s_schedule": {"test.fail_without_changes": failure}}
    offline = {"offline": not _minion_runs()}
    if not schedule["enabled"]:
        absent = {"schedule.absent": [{"names": [HIGHSTATE, HEAL, CHECK]}, offline]}
        return {"k3s_schedule": absent}
    # While other states run, state.highstate returns at once and logs nothing; the next interval
    # makes up for it. With queue it would run afterwards, but as a new job, which reports to the
    # master.
    highstate = _job(HIGHSTATE, "state.highstate", schedule["interval"], schedule["splay"])
    heal = _job(HEAL, "k3sfw.heal", schedule["heal"])
    # Without metrics nothing would read what it finds.
    check = {"schedule.absent": [{"name": CHECK}, offline]}
    if _writes_metrics():
        check = _job(CHECK, "k3sfw.check", schedule["check"], schedule["splay"])
    return {"k3s_schedule": highstate, "k3s_schedule_heal": heal, "k3s_schedule_check": check}


def _writes_metrics():
    # A wrong setting is reported by k3s.metrics.
    metrics = _merged("metrics")
    return isinstance(metrics, dict) and metrics.get("enabled") is True


def _job(name, function, seconds, splay=None):
    arguments = [
        {"name": name},
        {"function": function},
        {"maxrunning": 1},
        {"seconds": seconds},
        # A start at once would run during the state run that adds the job, and without splay: after
        # a restart of all minions, all of them would ask the master at the same time.
        {"run_on_start": False},
        {"return_job": False},
        {"offline": not _minion_runs()},
    ]
    if splay is not None:
        arguments.append({"splay": splay})
    return {"schedule.present": arguments}


def _merged(key):
    # As the engine merges them: the site's values over the defaults, which have a key of their own.
    merged = {}
    for source in ("k3sfw_defaults", "k3s"):
        tree = __pillar__.get(source) or {}
        given = tree.get(key, {}) if isinstance(tree, dict) else tree
        if not isinstance(given, dict):
            return given
        merged.update(given)
    return merged


def _faults(schedule):
    if not isinstance(schedule, dict):
        return [f"k3s:schedule is {schedule!r}. Fix: give a map of {', '.join(SETTINGS)}"]
    unknown = [
        f"k3s:schedule:{name} is not known. Fix: remove it, or use one of {', '.join(SETTINGS)}"
        for name in sorted(map(str, schedule))
        if name not in SETTINGS
    ]
    wrong = [
        f"k3s:schedule:{name} is {schedule.get(name)!r}. Fix: give {expected}"
        for name, (expected, is_valid) in SETTINGS.items()
        if not is_valid(schedule.get(name))
    ]
    return unknown + wrong


def _minion_runs():
    # Without a running minion, as under salt-call --local, a job is written to the file that the
    # minion reads when it starts.
    try:
        return Path("/proc", Path(__opts__["pidfile"]).read_text().strip(), "comm").exists()
    except OSError:
        return False
