#!py
"""
Schedules a highstate every ``interval`` seconds, which keeps the node in step with the tables, and
``k3sfw.heal`` every ``heal`` seconds, as ``k3s:schedule`` in pillar says.
"""

from pathlib import Path

HIGHSTATE, HEAL = "k3s_highstate", "k3s_heal"
SETTINGS = {
    "enabled": ("true or false", lambda value: isinstance(value, bool)),
    "interval": ("whole seconds, 1 or more", lambda value: type(value) is int and value >= 1),
    "splay": ("whole seconds, 0 or more", lambda value: type(value) is int and value >= 0),
    "heal": ("whole seconds, 1 or more", lambda value: type(value) is int and value >= 1),
}


def run():
    schedule = _schedule()
    faults = _faults(schedule)
    if faults:
        # In the name as well: this state replaces its comment in test mode.
        failure = [{"name": "; ".join(faults)}, {"comment": "\n".join(faults)}]
        return {"k3s_schedule": {"test.fail_without_changes": failure}}
    offline = {"offline": not _minion_runs()}
    if not schedule["enabled"]:
        absent = {"schedule.absent": [{"names": [HIGHSTATE, HEAL]}, offline]}
        return {"k3s_schedule": absent}
    highstate = [
        {"name": HIGHSTATE},
        # While other states run, state.highstate returns at once and logs nothing; the next
        # interval makes up for it. With queue it would run afterwards, but as a new job, which
        # reports to the master.
        {"function": "state.highstate"},
        {"maxrunning": 1},
        {"seconds": schedule["interval"]},
        {"splay": schedule["splay"]},
        # A start at once would run during the state run that adds the job, and without splay: after
        # a restart of all minions, all of them would ask the master at the same time.
        {"run_on_start": False},
        {"return_job": False},
        offline,
    ]
    heal = [
        {"name": HEAL},
        {"function": "k3sfw.heal"},
        {"maxrunning": 1},
        {"seconds": schedule["heal"]},
        {"run_on_start": False},
        {"return_job": False},
        offline,
    ]
    return {
        "k3s_schedule": {"schedule.present": highstate},
        "k3s_schedule_heal": {"schedule.present": heal},
    }


def _schedule():
    # As the engine merges them: the site's values over the defaults, which have a key of their own.
    merged = {}
    for source in ("k3sfw_defaults", "k3s"):
        tree = __pillar__.get(source) or {}
        given = tree.get("schedule", {}) if isinstance(tree, dict) else tree
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
