"""Dead letters by their cause, worst first: how many, since when, what is at fault, and what to type next."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.dead_letter import ABOUT, DeadClass, Reason
from worker.desk.letter import Letter, about, group_id

COMMAND: Final = "notify-worker dead"


@dataclass(frozen=True, slots=True)
class Group:
    """Letters of one class and code.

    `first` and `last` are when they died, None where nobody noted it; `lanes` maps a lane to how many came from
    it. `settings_changed` says whether the settings they died under are no longer the workers'; None where that
    is not known.
    """

    id: str
    dead_class: str
    code: str
    count: int
    first: datetime | None
    last: datetime | None
    lanes: Mapping[str, int]
    text: str
    hint: str
    settings: tuple[str, ...]
    settings_changed: bool | None
    next: str


def grouped(letters: Iterable[Letter], settings_rev: str) -> list[Group]:
    """The groups, the largest first; `settings_rev` is the revision the workers run with, empty if unknown."""
    by_cause: defaultdict[str, list[Letter]] = defaultdict(list)
    for letter in letters:
        by_cause[letter.group].append(letter)
    groups = [_group(members, settings_rev) for members in by_cause.values()]
    return sorted(groups, key=lambda group: (-group.count, group.code))


def _group(letters: list[Letter], settings_rev: str) -> Group:
    one, *_ = letters
    moments = [letter.died for letter in letters if letter.died]
    changed = settings_changed(letters, settings_rev)
    said = one.about
    return Group(
        id=one.group,
        dead_class=one.dead_class,
        code=one.code,
        count=len(letters),
        first=min(moments, default=None),
        last=max(moments, default=None),
        lanes=dict(Counter(letter.lane for letter in letters if letter.lane)),
        text=said.text,
        hint=said.hint,
        settings=tuple(dict.fromkeys(name for letter in letters for name in letter.about.settings)),
        settings_changed=changed,
        next=next_command(one.group, one.dead_class, changed=changed),
    )


def cause(reason: Reason) -> Group:
    """A group of nobody, for what can be said of a code."""
    said = about(ABOUT[reason].dead_class, reason)
    group = group_id(said.dead_class, reason)
    following = next_command(group, said.dead_class, changed=None)
    return Group(
        id=group,
        dead_class=said.dead_class,
        code=reason,
        count=0,
        first=None,
        last=None,
        lanes={},
        text=said.text,
        hint=said.hint,
        settings=said.settings,
        settings_changed=None,
        next=following,
    )


def settings_changed(letters: Iterable[Letter], settings_rev: str) -> bool | None:
    """Whether none of `letters` died under the settings of now; None where that is not known."""
    revisions = {letter.said("settings-rev") for letter in letters} - {""}
    return settings_rev not in revisions if revisions and settings_rev else None


def next_command(group: str, dead_class: str, *, changed: bool | None) -> str:
    """What helps next: send a first one where the cause may be gone, else see what it is."""
    match dead_class:
        case DeadClass.CONFIG if not changed:
            return f"{COMMAND} explain {group}"
        case DeadClass.CONFIG | DeadClass.EXHAUSTED:
            return f"{COMMAND} retry {group} --canary 1"
        case DeadClass.EXPIRED:
            return f"{COMMAND} discard {group} --reason expired"
        case _:
            return f"{COMMAND} explain {group}"
