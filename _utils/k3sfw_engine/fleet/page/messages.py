"""The sentences of the page. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from k3sfw_engine.checks.verdicts import Severity
from k3sfw_engine.errors import BadTables
from k3sfw_engine.fleet.answers import PROMISE_VALUES, CheckedCluster
from k3sfw_engine.fleet.coverage import coverage, coverage_sentence
from k3sfw_engine.fleet.overview import Overview, SharedNotice
from k3sfw_engine.fleet.page.pair_states import PairStates
from k3sfw_engine.fleet.page.signs import OWN_CODE, PAIR_SIGNS, Sign
from k3sfw_engine.fleet.since import Since
from k3sfw_engine.fleet.text.style import clean

if TYPE_CHECKING:
    from k3sfw_engine.fleet.page.promise_cards import PromiseCard

# Names in a sentence, and silent nodes in the list, before the rest is counted.
_NAMES = 4
_SILENT = 50
# What a cause of each severity is called.
_NOUNS = (
    (Severity.FAIL, "problem"),
    (Severity.UNKNOWN, "open question"),
    (Severity.WARN, "warning"),
)

WORST_OF_ALL = "Worst of all rows"
NO_TABLES = "The answers do not hold the tables."
ROLES = (
    "What the tables let in, whatever was asked. A port that is not in the tables may still be "
    "open by another zone, and packets show whether it is."
)
DOWNLOAD = "salt-run k3sfw.report html=FILE from=ANSWERS builds the page again."
SIGNS = (
    "Blocked or lost: a packet that the tables let in was refused, or never came back. Exposed: "
    "one that they do not let in was answered. Conflict: Kubernetes redirects the port before any "
    "rule is asked. Never asked: no packet was sent between the two, so nothing is known."
)
WITHOUT_SCRIPTS = (
    "This page is whole without scripts. With them it can be searched, its fixes have a button "
    "that copies them, the pictures of all pairs can be walked through, and the answers can be "
    "downloaded."
)
HOW_JUDGED = (
    "Each node compared its own rows in firewalld's runtime, in its permanent files and in the "
    "kernel, and sent packets to its peers: a port that the tables open must answer, and every "
    "other one must refuse. A pair that was not asked is shown as such, and never as good."
)


def human_time(seconds: float) -> str:
    """Return a time as people read it."""
    moment = _moment(seconds)
    return f"{moment:%A, %d %B %Y, %H:%M} UTC" if moment else "at an unknown time"


def short_time(seconds: float) -> str:
    """Return the time of a day."""
    moment = _moment(seconds)
    return f"{moment:%H:%M} UTC" if moment else ""


def machine_time(seconds: float) -> str:
    """Return a time as programs read it."""
    moment = _moment(seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun: ``1 node``, ``2,000 nodes``."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def duration(seconds: float) -> str:
    """Return how long something takes, in the largest unit that tells enough."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size * (2 if unit != "minute" else 1):
            return counted(round(seconds / size), unit)
    return counted(round(seconds), "second")


def picture_in_words(states: PairStates, row: str) -> str:
    """Return what a picture of pairs shows, as a sentence."""
    found = Counter(PAIR_SIGNS[code].name for code in states.rows[row] if code != OWN_CODE)
    order = list(dict.fromkeys(sign.name for sign in PAIR_SIGNS.values()))
    parts = [f"{found[name]:,} {name}" for name in order if name in found]
    return f"Of {sum(found.values()):,} pairs: {', '.join(parts)}"


# -- the first lines ------------------------------------------------------------------------------


def title(cluster: CheckedCluster, verdict: Sign, problems: int) -> str:
    """Return what a browser shows in its tab: the worst first."""
    found = counted(problems, "problem") if problems else verdict.name
    return f"{verdict.glyph} {found} · {clean(cluster.cluster)} · k3sfw"


_TABLES_DIFFER = "Nodes were told different tables"


def headline(judged: Overview) -> str:
    """Return the whole cluster in one sentence."""
    if not judged.coverage.answered:
        return "No node answered: nothing is known"
    severities = Counter(cause.severity for cause in judged.causes)
    causes = [counted(severities[each], noun) for each, noun in _NOUNS if severities[each]]
    nodes = {node for cause in judged.causes for node in cause.nodes}
    where = _names(nodes) if len(nodes) <= _NAMES else counted(len(nodes), "node")
    promises = Counter(promise.value for promise in judged.promises)
    parts = [
        *([f"{' and '.join(causes)} on {where}"] if causes else []),
        *(
            f"{promises[value]} of {counted(len(judged.promises), 'promise')} {value}"
            for value in ("broken", "not enforceable")
            if promises[value]
        ),
        *([f"{counted(len(judged.unchecked), 'check')} not possible"] if judged.unchecked else []),
    ]
    if parts:
        return "; ".join(parts)
    if judged.differing:
        return _TABLES_DIFFER
    if judged.coverage.silent:
        return f"No problem found on the {counted(judged.coverage.answered, 'node')} that answered"
    text = judged.without_problem
    return f"{text[0].upper()}{text[1:]}"


def facts(cluster: CheckedCluster, judged: Overview) -> Iterator[tuple[str, bool]]:
    """Return the sentences below the headline, and whether each is bad news."""
    found, promises = judged.coverage, judged.promises
    kept = sum(promise.value == "kept" for promise in promises)
    if promises:
        yield f"{kept} of {counted(len(promises), 'promise')} kept", False
    yield f"{found.answered:,} of {counted(found.nodes, 'node')} answered", False
    if cluster.silent:
        silent = counted(len(cluster.silent), "node")
        yield f"{silent} silent: {_names(cluster.silent)}", True
    yield _asked(coverage_sentence(found)), False
    if judged.differing:
        yield _TABLES_DIFFER, True


def _asked(sentence: str) -> str:
    """The pairs of the sentence about coverage; the silent nodes have a line of their own."""
    return sentence.partition(";")[0].rstrip(".")


def _names(names: Iterable[str]) -> str:
    every = sorted(map(clean, names))
    more = f" and {len(every) - _NAMES:,} more" if len(every) > _NAMES else ""
    return ", ".join(every[:_NAMES]) + more


def shared_notice(notice: SharedNotice) -> str:
    """Return what several nodes say in the same words."""
    part = f" (check_{notice.part})" if notice.part else ""
    return f"{_names(notice.nodes)}{part}: {notice.text}"


def compared(changed: Since, age: str) -> str:
    """Return how two checks compare, in one sentence."""
    found = (
        (len(changed.new), "new"),
        (len(changed.fixed), "fixed"),
        (len(changed.still), "still there"),
        (len(changed.unknown), "not known"),
        (len(changed.unasked), "not asked now"),
    )
    parts = [f"{number} {name}" for number, name in found if number]
    return f"{age} later: {', '.join(parts)}." if parts else f"{age} later: nothing to compare."


# -- one for each part ----------------------------------------------------------------------------


def no_problem(cluster: CheckedCluster) -> str:
    """Return what stands in place of problems."""
    if not cluster.answers:
        return "No node answered, so nothing is known."
    return "None: everything that was asked is as the tables say."


def left_out(number: int, noun: str) -> str:
    """Return how much is not on the page; nothing if all is."""
    if number <= 0:
        return ""
    return f"{counted(number, f'more {noun}')}: they are in the saved answers."


def promises(cards: Sequence[PromiseCard]) -> str:
    """Return what became of the promises, in one sentence."""
    if not cards:
        return "None: k3s:tests in pillar is where they are written."
    found = Counter(card.state.name for card in cards)
    parts = [f"{found[name]} {name}" for name in PROMISE_VALUES if name in found]
    return f"{counted(len(cards), 'promise')}: {', '.join(parts)}."


def pairs(cluster: CheckedCluster, states: PairStates) -> str:
    """Return what the picture of pairs is about."""
    text = "Each line is a node that sends, each column a node that receives."
    if states.left_out:
        shown = counted(len(states.nodes), "node")
        text += (
            f" {shown} of {len(cluster.nodes):,} are shown: those in problems, the silent ones, "
            "and the first of the rest."
        )
    return text


def nodes(cluster: CheckedCluster, bad: int) -> str:
    """Return how the nodes are, in one sentence."""
    roles = Counter(member.role for member in cluster.nodes.values())
    kinds = ", ".join(counted(roles[role], clean(role)) for role in sorted(roles, reverse=True))
    found = f"; the checks of {bad:,} found something, or they are silent" if bad else ""
    return f"{counted(len(cluster.nodes), 'node')} ({kinds}){found}."


def bad_nodes(number: int) -> str:
    """Return the title of the nodes to look at."""
    return f"{counted(number, 'node')} whose checks found something, or silent"


def fine_nodes(number: int) -> str:
    """Return the title of the other nodes."""
    return f"{counted(number, 'node')} without a problem"


def tables(cluster: CheckedCluster, rows: int) -> str:
    """Return what the tables are, in one sentence."""
    digests = Counter(answer.tables for answer in cluster.answers.values())
    text = f"{counted(rows, 'row')}, as the pillar says below k3s:ports."
    if len(digests) > 1:
        parts = [
            f"{clean(digest[:8]) or 'none'} on {counted(number, 'node')}"
            for digest, number in digests.most_common(_NAMES)
        ]
        text += f" The nodes do not all have the same tables: {', '.join(parts)}."
    return text


def tables_refused(error: BadTables) -> str:
    """Return why the tables are not shown."""
    more = f" (and {len(error.problems) - 1} more faults)" if len(error.problems) > 1 else ""
    return f"The tables in the answers were refused: {clean(error.problems[0])}{more}"


def covered(cluster: CheckedCluster) -> list[str]:
    """Return how much of the cluster the verdict covers."""
    texts = [coverage_sentence(coverage(cluster))]
    answered = counted(len(cluster.answers), "node")
    texts.append(f"{answered} of {len(cluster.nodes):,} answered.")
    for name, reason in sorted(cluster.silent.items())[:_SILENT]:
        texts.append(f"{clean(name)} is silent{f': {clean(reason)}' if reason else ''}.")
    if len(cluster.silent) > _SILENT:
        texts.append(f"{counted(len(cluster.silent) - _SILENT, 'more node')} are silent.")
    left = sum(part.left_off for each in cluster.answers.values() for part in each.parts.values())
    if left:
        texts.append(f"{counted(left, 'more answer')} with a problem were counted, and not sent.")
    return texts


def about(cluster: CheckedCluster) -> Iterator[tuple[str, str]]:
    """Return where the page comes from."""
    yield "Cluster", cluster.cluster
    yield "Checked", f"{human_time(cluster.at)} ({machine_time(cluster.at)})"
    ats = [answer.at for answer in cluster.answers.values()]
    if ats:
        took = max(answer.took for answer in cluster.answers.values())
        first, last = short_time(min(ats)), short_time(max(ats))
        when = first if first == last else f"{first} to {last}"
        yield "Nodes answered", f"{when}; the slowest took {took:.1f} seconds"
    versions = sorted({answer.version for answer in cluster.answers.values()})
    yield "k3sfw", f"{cluster.version} on the master, {', '.join(versions) or 'none'} on the nodes"
    digests = Counter(answer.tables for answer in cluster.answers.values())
    yield "Digest of the tables", ", ".join(digest for digest, _n in digests.most_common(_NAMES))
    yield "How a verdict is made", HOW_JUDGED
    yield "Signs", SIGNS


def file_name(cluster: CheckedCluster) -> str:
    """Return the name under which the answers are saved."""
    name = "".join(each if each.isascii() and each.isalnum() else "-" for each in cluster.cluster)
    moment = _moment(cluster.at)
    return f"k3sfw-{name[:40]}-{moment:%Y%m%d-%H%M}.json" if moment else f"k3sfw-{name[:40]}.json"
