"""How dead letters look: with colour on a terminal, plain lines in a pipe, JSON when asked; all redacted."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any, Final

import typer
from rich.console import Console
from rich.text import Text

from contracts.dead_letter import HEADER_PREFIX, DeadClass, rfc3339
from worker.copies import History
from worker.desk import veil
from worker.desk.groups import Group
from worker.desk.letter import Letter
from worker.desk.reading import Looked
from worker.screens import print_plain

INDENT: Final = " " * 8
MOST_DETAILS: Final = 5
UNKNOWN: Final = "-"
_COLOURS: Final = {DeadClass.CONFIG: "bold red", DeadClass.POISON: "red", DeadClass.EXPIRED: "dim"}
_CHANGED: Final = {
    True: "The settings have changed since these died.",
    False: "These died under the settings of now.",
    None: "",
}


def group_object(group: Group) -> dict[str, Any]:
    """`{group, class, code, count, first, last, lanes, text, settings, settings_changed, hint, next}`."""
    return {
        "group": group.id,
        "class": group.dead_class,
        "code": group.code,
        "count": group.count,
        "first": _exact(group.first),
        "last": _exact(group.last),
        "lanes": dict(group.lanes),
        "text": veil.line(group.text),
        "settings": list(group.settings),
        "settings_changed": group.settings_changed,
        "hint": veil.line(group.hint),
        "next": group.next,
    }


def letter_object(letter: Letter) -> dict[str, Any]:
    """`{id, event_id, group, class, code, …}` and the worker's headers without their prefix, redacted."""
    ours = {
        name.removeprefix(HEADER_PREFIX).replace("-", "_"): veil.headers(letter)[name]
        for name in letter.headers
        if name.startswith(HEADER_PREFIX) and not letter.derived
    }
    return {
        "id": letter.id,
        "event_id": veil.line(letter.event_id),
        "event_type": veil.line(letter.event_type),
        "group": letter.group,
        "class": letter.dead_class,
        "code": letter.code,
        "lane": letter.lane,
        "queue": letter.queue,
        "died": _exact(letter.died),
        "text": veil.line(letter.about.text),
        "origin_key": veil.line(letter.origin_key),
        **{name: value for name, value in ours.items() if name not in _SAID_ALREADY},
    }


_SAID_ALREADY: Final = frozenset(
    {"dead_id", "event_id", "event_type", "class", "code", "died", "text", "origin_key"}
)


def print_groups(groups: Sequence[Group]) -> None:
    """Write the groups to stdout."""
    console = Console()
    if console.is_terminal:
        for line in group_lines(groups, console.width):
            console.print(line, soft_wrap=True)
        return
    head = ("GROUP", "COUNT", "CLASS", "CODE", "FIRST", "LAST", "LANES", "CHANGED", "SETTINGS", "NEXT", "TEXT")
    print_plain(head, map(_group_cells, groups))


def _group_cells(group: Group) -> tuple[str, ...]:
    changed = {True: "yes", False: "no", None: UNKNOWN}[group.settings_changed]
    return (
        group.id,
        str(group.count),
        group.dead_class,
        group.code,
        _exact(group.first) or UNKNOWN,
        _exact(group.last) or UNKNOWN,
        ",".join(f"{lane}={count}" for lane, count in sorted(group.lanes.items())) or UNKNOWN,
        changed,
        ",".join(group.settings) or UNKNOWN,
        group.next,
        veil.line(group.text),
    )


def group_lines(groups: Sequence[Group], width: int) -> Iterator[Text]:
    """The screen of `dead`: a line a group, and under it the sentence, the settings, and what to type next."""
    codes = max((len(group.code) for group in groups), default=0)
    yield Text(
        f"GROUP   COUNT  {'CLASS':10}  {'CODE':{codes}}  FIRST (UTC)   LAST (UTC)    LANES", style="bold"
    )
    for group in groups:
        line = Text(f"{group.id}  {group.count:5}  ")
        line.append(f"{group.dead_class:10}", style=_colour(group))
        line.append(f"  {group.code:{codes}}  {_short(group.first):12}  {_short(group.last):12}  ")
        line.append(", ".join(f"{lane} {count}" for lane, count in sorted(group.lanes.items())) or UNKNOWN)
        yield line
        yield from _details(group, width)


def _details(group: Group, width: int) -> Iterator[Text]:
    # The documented sentence stands on its own, so that it can be searched for as the vendor's page has it.
    yield from _wrapped(veil.line(group.text), width, "bold")
    advice = " ".join(filter(None, (_to_change(group.settings), _CHANGED[group.settings_changed])))
    yield from _wrapped(advice, width, "yellow" if group.settings_changed else "")
    yield Text(f"{INDENT}{group.next}", style="cyan")


def _to_change(settings: Sequence[str]) -> str:
    return f"Setting to look at: {', '.join(settings)}." if settings else ""


def _colour(group: Group) -> str:
    return next((colour for name, colour in _COLOURS.items() if name == group.dead_class), "")


def print_letters(letters: Sequence[Letter]) -> None:
    """Write a line a letter to stdout."""
    console = Console()
    lines = [_letter_cells(letter) for letter in letters]
    if not console.is_terminal:
        print_plain(_LETTER_HEAD, lines)
        return
    widths = [max(map(len, column)) for column in zip(_LETTER_HEAD, *lines, strict=True)]
    for number, cells in enumerate([_LETTER_HEAD, *lines]):
        text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        console.print(Text(text.rstrip(), style="" if number else "bold", no_wrap=True, overflow="ellipsis"))


_LETTER_HEAD: Final = ("ID", "DIED", "LANE", "CODE", "EVENT")


def _letter_cells(letter: Letter) -> tuple[str, ...]:
    when = letter.died.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if letter.died else UNKNOWN
    return letter.id, when, letter.lane or UNKNOWN, letter.code, veil.line(letter.event_id) or UNKNOWN


def print_letter(letter: Letter, body: str) -> None:
    """Write all that is known of one letter to stdout: what it died of, its history, headers, and `body`."""
    console = Console(soft_wrap=True)
    for line in letter_lines(letter, console.width if console.is_terminal else 100):
        console.print(line)
    console.print(Text("\nBody", style="bold"))
    console.print(Text(body))


def letter_lines(letter: Letter, width: int) -> Iterator[Text]:
    """The facts, what to do, the attempts, and the other headers."""
    about = letter.about
    for name, value in _facts(letter):
        yield Text.assemble((f"{name:13}", "bold"), value or UNKNOWN)
    yield Text("")
    yield from _wrapped(veil.line(about.text), width, "bold", indent="")
    yield from _wrapped(veil.line(about.hint), width, "", indent="")
    yield from _wrapped(_to_change(about.settings), width, "", indent="")
    if detail := veil.line(letter.said("detail")):
        yield from _wrapped(f"Detail: {detail}", width, "", indent="")
    if attempts := History.read(letter.said("history")).entries:
        yield Text("\nAttempts", style="bold")
        for when, code, tier in attempts:
            yield Text(f"{veil.line(when)}  {veil.line(code)}  {_whereto(veil.line(tier))}")
    yield Text("\nHeaders", style="bold")
    for name, value in veil.headers(letter).items():
        if name not in _SHOWN_ABOVE:
            yield Text(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")


_SHOWN_ABOVE: Final = {
    f"{HEADER_PREFIX}{name}"
    for name in (
        *("dead-id", "class", "code", "text", "hint", "setting", "detail", "history", "died"),
        *("first-failed", "attempts", "origin-queue", "origin-key", "event-id", "event-type", "settings-rev"),
    )
}


def _facts(letter: Letter) -> Iterator[tuple[str, str]]:
    yield "id", letter.id
    yield "cause", f"{letter.dead_class}  {letter.code}  (group {letter.group})"
    yield "event", " ".join(filter(None, (veil.line(letter.event_id), veil.line(letter.event_type))))
    yield "died", _exact(letter.died) or ""
    yield "first failed", veil.line(letter.said("first-failed"))
    yield "attempts", letter.said("attempts")
    yield "came from", " ".join(filter(None, (veil.line(letter.origin_queue), veil.line(letter.origin_key))))
    yield "lies in", letter.queue
    yield "settings", letter.said("settings-rev")


def _whereto(tier: str) -> str:
    return "dead letter" if tier == "dead" else f"retry in {tier}"


def explain_lines(group: Group, letters: Sequence[Letter], width: int) -> Iterator[Text]:
    """The first part of `dead explain`: sentence, cause, settings, and what was seen how often."""
    yield Text.assemble((group.code, "bold"), f"  class {group.dead_class}, group {group.id}")
    yield from _wrapped(veil.line(group.text), width, "bold", indent="")
    yield Text("")
    yield from _wrapped(veil.line(group.hint), width, "", indent="")
    yield from _wrapped(_to_change(group.settings), width, "", indent="")
    yield Text("")
    yield from _wrapped(_how_many(group), width, "", indent="")
    yield from _wrapped(_CHANGED[group.settings_changed], width, "yellow", indent="")
    for detail, count in details(letters):
        yield from _wrapped(f"{count} x {detail}", width, "", indent="  ")


def _how_many(group: Group) -> str:
    if not group.count:
        return "No dead letter has this code now."
    lanes = ", ".join(f"{lane} {count}" for lane, count in sorted(group.lanes.items()))
    when = f", from {_exact(group.first)} to {_exact(group.last)}" if group.first else ""
    return f"{group.count} dead letter{'s' if group.count > 1 else ''}{f' ({lanes})' if lanes else ''}{when}."


def details(letters: Iterable[Letter]) -> list[tuple[str, int]]:
    """What was seen, redacted, and how often; the most frequent ones."""
    seen = Counter(veil.line(letter.said("detail")) for letter in letters)
    del seen[""]
    return seen.most_common(MOST_DETAILS)


def say_how_it_was_looked(looked: Looked) -> None:
    """Write to stderr what the look cost, where it cost anything, and what it may not show."""
    for sentence in costs(looked):
        typer.echo(sentence, err=True)


def costs(looked: Looked) -> Iterator[str]:
    """Sentences about queues that had to be peeked in, or that somebody else works on."""
    for queue, count in looked.peeked.items():
        why = "there is no stream of copies" if looked.streamless else "the stream of copies does not match it"
        yield (
            f"{queue} was peeked in, since {why}: its {count} messages were out of sight for a moment, and "
            "count one delivery more. They are back in their order."
        )
    for queue in looked.busy:
        yield f"Somebody else is reading {queue} at this moment; what is shown may be changing."


def as_text(lines: Iterable[Text]) -> str:
    """The lines without colour, for documents."""
    return "".join(f"{line.plain.rstrip()}\n" for line in lines)


def print_lines(lines: Iterable[Text]) -> None:
    """Write lines to stdout, with colour on a terminal."""
    console = Console(soft_wrap=True)
    for line in lines:
        console.print(line)
    sys.stdout.flush()


def screen_width() -> int:
    """Columns of the terminal; 100 in a pipe."""
    console = Console()
    return console.width if console.is_terminal else 100


def _wrapped(text: str, width: int, style: str, indent: str = INDENT) -> Iterator[Text]:
    for line in wrap(text, width - len(indent), break_long_words=False, break_on_hyphens=False):
        yield Text(indent + line, style=style)


def _short(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%d %b %H:%M") if moment else UNKNOWN


def _exact(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
