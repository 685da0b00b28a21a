"""What the commands that change dead letters say of what they did: a document, a sentence, the next command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.broker import BrokerUnavailableError, in_words
from worker.commands.shell import NOTHING_MATCHED
from worker.desk.canary import Song, Verdict
from worker.desk.case import Fate
from worker.desk.letter import Letter
from worker.desk.redrive import Options, Tally
from worker.desk.restore import Return

SEE: Final = "notify-worker dead"


class UnsafeError(Exception):
    """What is asked for cannot be done safely here; the text says why, and what to write to do it."""


@dataclass(frozen=True, slots=True)
class Report:
    """`document` is printed as JSON, or else `sentence`; `following` is the next useful command."""

    document: Mapping[str, Any]
    sentence: str
    following: str = ""
    code: int = 0


NOTHING: Final = Report({"matched": 0, "next": SEE}, "No dead letter matches.", SEE, NOTHING_MATCHED)

NOTHING_REMEMBERED: Final = Report(
    {"matched": 0, "next": SEE}, "No dead letter that is remembered matches.", SEE, NOTHING_MATCHED
)


def unsafe_to_retry(*, canary: bool) -> UnsafeError:
    """Why nothing is sent again without a journal."""
    if canary:
        return UnsafeError(
            "There is no journal at this broker, so what becomes of a canary cannot be seen. "
            "Send one letter again by its id with --yes, and look what became of it."
        )
    return UnsafeError(
        "There is no journal at this broker: if this is interrupted and done again, a mail may be sent twice. "
        "To send these again all the same, add --yes."
    )


def broken_off(error: Exception, done: int, count: int) -> BrokerUnavailableError:
    """What is said when the broker goes away, or takes no more, in the middle."""
    why = str(error) if isinstance(error, BrokerUnavailableError) else in_words(error)
    return BrokerUnavailableError(
        f"{why}. {done} of {count} are dealt with; the others are where they were: do the same again."
    )


def unsafe_to_discard(for_good: int, count: int) -> UnsafeError:
    """Why nothing is discarded that is kept nowhere."""
    return UnsafeError(
        f"No copy of {for_good} of these {count} is kept, so they could not be restored. "
        "To keep them: notify-worker dead export. To discard them all the same, add --yes."
    )


def forecast(letters: Sequence[Letter], fates: Mapping[Fate, int]) -> Report:
    """What a retry would do."""
    sentences = (
        (Fate.SEND, "would be sent again"),
        (Fate.SENT_BEFORE, "had been sent again before, and would be taken out"),
        (Fate.PERHAPS_SENT, "had perhaps been sent again before; their outcome would be waited for"),
        (Fate.EXPIRED, "have expired, and would stay"),
    )
    said = "; ".join(f"{fates[fate]} {what}" for fate, what in sentences if fates.get(fate))
    counts = {fate.name.lower(): fates.get(fate, 0) for fate in Fate}
    return Report({"matched": len(letters), "dry_run": True, **counts}, f"{said}.")


def retried(letters: Sequence[Letter], tally: Tally, options: Options) -> Report:
    """What a retry has done."""
    verdict = tally.verdict
    stopped = verdict is not None and not verdict.goes_on
    following = _after_retry(letters, stopped=stopped)
    document = {
        "matched": len(letters),
        "dry_run": False,
        "sent": tally.sent,
        "sent_before": tally.sent_before,
        "expired": tally.expired,
        "left": len(letters) - tally.sent - tally.sent_before,
        "canary": {"sent": tally.canaries, "tells": verdict.song, "code": verdict.code} if verdict else None,
        "next": following,
    }
    said = [f"{tally.sent} of {len(letters)} sent again."]
    if tally.sent_before:
        said.append(f"{tally.sent_before} had been sent again before, and are taken out.")
    if options.skip_expired and tally.expired:
        said.append(f"{tally.expired} have expired, and stay where they are.")
    if verdict:
        said.append(_sung(verdict))
    return Report(document, " ".join(said), following, NOTHING_MATCHED if stopped else 0)


def _after_retry(letters: Sequence[Letter], *, stopped: bool) -> str:
    if stopped:
        return f"notify-worker dead explain {letters[0].group}"
    if len(letters) == 1 and letters[0].event_id:
        return f"notify-worker whereis {letters[0].event_id}"
    return SEE


def _sung(verdict: Verdict) -> str:
    match verdict.song:
        case Song.WELL:
            return "The canary came through."
        case Song.SAME:
            return f"The canary failed as before ({verdict.code}): the rest stays where it is."
        case Song.SETTINGS:
            return f"The canary met another fault of the settings ({verdict.code}): the rest stays where it is."
        case Song.SILENT:
            return (
                "Nothing was heard of the canary in a minute: the rest stays where it is. Is a worker running?"
            )


def discarded(letters: Sequence[Letter], count: int | None) -> Report:
    """What was discarded, `count` letters; None for what would be."""
    ids = [letter.id for letter in letters]
    document = {"matched": len(ids), "dry_run": count is None, "discarded": count or 0, "ids": ids}
    if count is None:
        return Report(document, f"{len(ids)} would be discarded.")
    following = f"notify-worker dead restore {ids[0] if len(ids) == 1 else letters[0].group}"
    return Report(document | {"next": following}, f"{count} of {len(ids)} discarded.", following)


def unable_to_restore() -> UnsafeError:
    """Why nothing comes back without the streams."""
    return UnsafeError("There is no stream of dead letters at this broker, so nothing is remembered.")


def unsafe_to_import() -> UnsafeError:
    """Why nothing is imported without a journal."""
    return UnsafeError(
        "There is no journal at this broker, so what was sent since the export is not known, and may be sent "
        "twice after the import. To import all the same, add --yes."
    )


def unsafe_to_edit() -> UnsafeError:
    """Why nothing is edited without a journal."""
    return UnsafeError(
        "There is no journal at this broker: the letter as it was would be kept nowhere. "
        "To keep it: notify-worker dead export. To edit it all the same, add --yes."
    )


def restored(letters: Sequence[Letter], counts: Mapping[Return, int], *, dry_run: bool) -> Report:
    """What came back, or would."""
    count = counts.get(Return.RESTORED, 0)
    document = {"matched": len(letters), "dry_run": dry_run}
    document |= {str(what): counts.get(what, 0) for what in Return}
    following = f"notify-worker dead list {letters[0].group}" if count and not dry_run else SEE
    said = [f"{count} of {len(letters)} {'would be restored' if dry_run else 'restored'}."]
    reasons = (
        (Return.THERE, "are there"),
        (Return.SENT_AGAIN, "were sent again, and stay gone"),
        (Return.EDITED, "were edited: what was made of them is there, or was sent"),
    )
    said += [f"{counts[what]} {why}." for what, why in reasons if counts.get(what)]
    return Report(document | {"next": following}, " ".join(said), following, 0 if count else NOTHING_MATCHED)


def edited(old: Letter, new: Letter, fields: Sequence[str], *, dry_run: bool) -> Report:
    """What was edited, or would be."""
    following = "" if dry_run else f"notify-worker dead retry {new.id}"
    document = {
        "dry_run": dry_run,
        "id": new.id,
        "event_id": new.event_id,
        "edited_from": old.id,
        "fields": fields,
        "next": following,
    }
    changed = "would be" if dry_run else "is"
    return Report(document, f"{', '.join(fields)} {changed} changed: {old.id} becomes {new.id}.", following)
