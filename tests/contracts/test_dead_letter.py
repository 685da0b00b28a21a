"""Dead letters: a closed set of codes, and a record that fits into message headers."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.dead_letter import (
    ABOUT,
    CUT,
    MAX_DETAIL_CHARACTERS,
    MAX_HEADER_BYTES,
    DeadClass,
    DeadLetter,
    Reason,
    fingerprint,
    header_name,
    rfc3339,
)
from contracts.smtp_settings import SMTP_SETTING_NAMES

CODES: Final = {
    "config": """
        oauth2-requires-tls oauth2-not-configured oauth2-username-unknown oauth2-endpoint-not-https
        oauth2-client-missing oauth2-client-refused oauth2-scope-refused smtp-authentication-refused
        smtp-port-mismatch smtp-tls-version smtp-certificate smtp-starttls-missing smtp-authentication-missing
        smtp-send-as-denied smtp-relay-refused smtp-quota smtp-host-missing sender-missing""",
    "poison": "envelope unknown-type invalid-data template attachment-refused delivery-limit unexpected",
    "rejected": "recipient-refused message-refused message-too-large address-unsupported",
    "expired": "expired",
    "exhausted": """
        smtp-unreachable smtp-busy smtp-throttled smtp-mailbox-unavailable token-unavailable
        attachment-unavailable""",
}
"""Class -> its codes: what operators filter by and alerts are written for."""

FULL: Final = DeadLetter(
    dead_id="0190b6d3",
    dead_class=DeadClass.CONFIG,
    code=Reason.OAUTH2_REQUIRES_TLS,
    text=ABOUT[Reason.OAUTH2_REQUIRES_TLS].text,
    hint=ABOUT[Reason.OAUTH2_REQUIRES_TLS].hint,
    setting="EmailSmtpUseSSL EmailSmtpUseImplicitSSL",
    detail="535 5.7.3 Authentication unsuccessful",
    fingerprint="0123456789ab",
    settings_rev="ba9876543210",
    attempts=3,
    history="1 smtp-busy; 2 smtp-busy; 3 smtp-busy",
    first_failed="2026-11-24T14:05:12.000Z",
    died="2026-11-24T16:05:12.000Z",
    origin_queue="notify.work.standard",
    origin_key="workflow.website.contensisEntryApproval.awaitingApproval.submit",
    event_id="b6d3a2b0-5c0e-4c55-9f6a-7f1f0a3f5c11",
    event_type="com.contensis.entry.workflowEventRaised.v1",
    owed="0,3-7",
    worker="worker-1",
    attempt_traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    redrives=1,
    redriven_by="ann",
    note="TLS is on now",
    edited_from="0190b6d2",
)


def size(headers: dict[str, str | int]) -> int:
    """Bytes of names and values, with the length and type that AMQP puts before each."""
    return sum(1 + len(name.encode()) + 1 + 4 + len(str(value).encode()) for name, value in headers.items())


def test_each_class_has_the_documented_codes() -> None:
    """A code that moves to another class takes its alerts and runbook along."""
    assert {name: set(codes.split()) for name, codes in CODES.items()} == {
        dead_class.value: {reason.value for reason in Reason if ABOUT[reason].dead_class is dead_class}
        for dead_class in DeadClass
    }


@pytest.mark.parametrize("reason", Reason)
def test_every_code_says_what_is_wrong_and_what_to_do(reason: Reason) -> None:
    """An operator reads a sentence, a next step, and the names of settings that exist."""
    about = ABOUT[reason]
    assert about.text
    assert about.hint.endswith(".")
    assert all(name in SMTP_SETTING_NAMES or name.startswith("NOTIFY_") for name in about.settings)


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if ABOUT[reason].dead_class is DeadClass.CONFIG]
)
def test_a_configuration_fault_names_its_settings(reason: str) -> None:
    """Else nobody would know what to mend."""
    assert ABOUT[Reason(reason)].settings


def test_the_headers_are_pinned() -> None:
    """Operators' filters and other readers rely on the names."""
    assert FULL.to_headers() == {
        "notify-dead-id": "0190b6d3",
        "notify-class": "config",
        "notify-code": "oauth2-requires-tls",
        "notify-text": "OAuth2 authentication requires TLS",
        "notify-hint": "EmailSmtpUseOAuth2 is true but neither SSL setting is enabled. Set EmailSmtpUseSSL "
        "to true (or EmailSmtpUseImplicitSSL for SSL-on-connect providers).",
        "notify-setting": "EmailSmtpUseSSL EmailSmtpUseImplicitSSL",
        "notify-detail": "535 5.7.3 Authentication unsuccessful",
        "notify-fingerprint": "0123456789ab",
        "notify-settings-rev": "ba9876543210",
        "notify-attempts": 3,
        "notify-history": "1 smtp-busy; 2 smtp-busy; 3 smtp-busy",
        "notify-first-failed": "2026-11-24T14:05:12.000Z",
        "notify-died": "2026-11-24T16:05:12.000Z",
        "notify-origin-queue": "notify.work.standard",
        "notify-origin-key": "workflow.website.contensisEntryApproval.awaitingApproval.submit",
        "notify-event-id": "b6d3a2b0-5c0e-4c55-9f6a-7f1f0a3f5c11",
        "notify-event-type": "com.contensis.entry.workflowEventRaised.v1",
        "notify-owed": "0,3-7",
        "notify-worker": "worker-1",
        "notify-attempt-traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "notify-redrives": 1,
        "notify-redriven-by": "ann",
        "notify-note": "TLS is on now",
        "notify-edited-from": "0190b6d2",
    }


def test_a_record_comes_back_from_its_headers() -> None:
    """What the worker writes, the desk reads; other headers beside them do not matter."""
    others: dict[str, Any] = {"traceparent": "00-…", "x-death": [{"count": 1}], "notify-future": 1}
    assert DeadLetter.from_headers(FULL.to_headers() | others) == FULL


def test_empty_values_are_left_out_and_come_back_empty() -> None:
    """Zero attempts is a fact, an empty text is none."""
    empty = FULL.model_copy(update={"detail": "", "owed": "", "history": "", "attempts": 0})
    headers = empty.to_headers()
    assert {"notify-detail", "notify-owed", "notify-history"}.isdisjoint(headers)
    assert headers["notify-attempts"] == 0
    assert DeadLetter.from_headers(headers) == empty


def test_headers_of_something_else_are_refused() -> None:
    """A dead letter made by the broker itself has none of them."""
    with pytest.raises(ValidationError):
        DeadLetter.from_headers({"x-death": []})


_HUGE = 200 * 1024
_CUTTABLE = ("detail", "history", "event_id", "event_type", "origin_key", "owed")


@pytest.mark.parametrize("character", ["a", "ŵ", "🎉"], ids=["one byte", "two bytes", "four bytes"])
@pytest.mark.parametrize("fields", [(name,) for name in _CUTTABLE] + [_CUTTABLE], ids="+".join)
def test_headers_stay_within_their_limit(fields: tuple[str, ...], character: str) -> None:
    """Publishers choose ids and keys, servers their replies: none may close the connection to the broker."""
    huge = FULL.model_copy(update=dict.fromkeys(fields, character * _HUGE))
    headers = huge.to_headers()
    assert size(headers) <= MAX_HEADER_BYTES
    assert DeadLetter.from_headers(headers).code is FULL.code
    kept = {header_name(name) for name in DeadLetter.model_fields if name not in _CUTTABLE}
    assert {name: headers[name] for name in kept} == {name: FULL.to_headers()[name] for name in kept}


def test_what_is_cut_says_so() -> None:
    """A cut text ends with an ellipsis, so that nobody takes it for the whole."""
    headers = FULL.model_copy(update={"detail": "x" * _HUGE, "history": "y" * _HUGE}).to_headers()
    assert headers["notify-detail"] == "x" * (MAX_DETAIL_CHARACTERS - 1) + CUT
    assert str(headers["notify-history"]).endswith("y" + CUT)


def test_only_what_is_needed_is_cut() -> None:
    """A long history is cut before the ids, which people search for."""
    headers = FULL.model_copy(update={"history": "y" * _HUGE, "owed": "0,3-7,9"}).to_headers()
    assert (headers["notify-owed"], headers["notify-event-id"]) == ("0,3-7,9", FULL.event_id)
    assert size(headers) > MAX_HEADER_BYTES - 16


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200).flatmap(
    lambda text: st.integers(0, 300).map(lambda times: text * times)
)


@settings(max_examples=200, deadline=None)
@given(values=st.fixed_dictionaries({}, optional=dict.fromkeys(_CUTTABLE, _TEXT)))
def test_headers_are_scalars_within_the_limit_whatever_is_said(values: dict[str, str]) -> None:
    """Tables and lists would be dropped on the way to AMQP 1.0."""
    headers = FULL.model_copy(update=values).to_headers()
    assert all(type(value) in {str, int} for value in headers.values())
    assert size(headers) <= MAX_HEADER_BYTES
    assert DeadLetter.from_headers(headers).to_headers() == headers


def test_a_fingerprint_groups_by_class_code_and_lane() -> None:
    """The same trouble in another event is the same group."""
    prints = {fingerprint(reason, lane) for reason in Reason for lane in ("urgent", "standard")}
    assert len(prints) == 2 * len(Reason)
    assert all(len(each) == 12 and int(each, 16) >= 0 for each in prints)
    assert fingerprint(Reason.EXPIRED, "urgent") == "208e07c375f4"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 24, 14, 5, 12, 481999, tzinfo=UTC), "2026-11-24T14:05:12.481Z"),
        (datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=1))), "2026-06-30T23:00:00.000Z"),
    ],
)
def test_moments_are_rfc_3339_in_utc(moment: datetime, text: str) -> None:
    """So that they sort as text."""
    assert rfc3339(moment) == text
