"""A dead letter read from any message: ours, the broker's own, and what somebody else put there."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.dead_letter import ABOUT, DeadClass, DeadLetter, Reason
from worker.desk.letter import UNNAMED, UNROUTABLE, Letter, Properties, group_id

NOW = datetime(2026, 11, 24, 9, 58, tzinfo=UTC)
REASON = Reason.OAUTH2_REQUIRES_TLS
OURS = DeadLetter(
    dead_id="01KB0000000000000000000000",
    dead_class=DeadClass.CONFIG,
    code=REASON,
    text=ABOUT[REASON].text,
    hint=ABOUT[REASON].hint,
    setting="EmailSmtpUseSSL",
    fingerprint="0123456789ab",
    settings_rev="ab12cd34ef56",
    attempts=1,
    died="2026-11-24T09:58:00.000Z",
    origin_queue="notify.work.urgent",
    origin_key="password-reset.requested",
    event_id="event-1",
    event_type="com.contensis.user.passwordReset.v1",
    worker="host/1/0",
).to_headers()
BY_THE_BROKER: dict[str, Any] = {
    "x-first-death-reason": "delivery_limit",
    "x-first-death-queue": "notify.work.standard",
    "x-death": [{"queue": "notify.work.standard", "time": NOW, "routing-keys": ["form.x.y"]}],
}
BODY = b'{"id": "event-2", "type": "com.contensis.system.message.v1"}'


def read(
    queue: str = "notify.dead.config",
    key: str = "",
    headers: dict[str, Any] | None = None,
    body: bytes = BODY,
    properties: Properties | None = None,
) -> Letter:
    """A letter, with what matters to a test."""
    return Letter.read(queue, key, headers or {}, body, properties or Properties())


def test_our_headers_say_it_all() -> None:
    """Class, code, lane and moment are as the worker wrote them."""
    letter = read(headers=OURS)
    assert letter.id == "01KB0000000000000000000000"
    assert (letter.dead_class, letter.code, letter.lane) == ("config", "oauth2-requires-tls", "urgent")
    assert letter.died == NOW
    assert (letter.event_id, letter.origin_key) == ("event-1", "password-reset.requested")
    assert letter.said("settings-rev") == "ab12cd34ef56"
    assert letter.said("attempts") == "1"
    assert letter.about.settings == ("EmailSmtpUseSSL",)
    assert not letter.derived


def test_what_the_broker_gave_up_is_known_by_its_key() -> None:
    """It has no header of ours; the sentence is the contract's."""
    letter = read("notify.dead.poison", "poison.delivery-limit", BY_THE_BROKER)
    assert (letter.dead_class, letter.code, letter.lane) == ("poison", "delivery-limit", "standard")
    assert letter.about.text == ABOUT[Reason.DELIVERY_LIMIT].text
    assert letter.died == NOW
    assert (letter.event_id, letter.event_type) == ("event-2", "com.contensis.system.message.v1")
    assert letter.origin_key == "form.x.y"
    assert letter.derived


@pytest.mark.parametrize(
    ("queue", "key", "headers", "cause"),
    [
        ("n.dead.poison", "n.dead.poison", BY_THE_BROKER, ("poison", "delivery-limit")),
        ("n.dead.exhausted", "rejected.recipient-refused", {}, ("rejected", "recipient-refused")),
        ("n.dead.config", "config.no-such-code", {}, ("config", UNNAMED)),
        ("n.dead.config", "n.dead.config", {}, ("config", UNNAMED)),
        ("n.dead.unroutable", "wrokflow.x", {}, (UNROUTABLE, UNROUTABLE)),
        ("n.dead.unroutable", "wrokflow.x", OURS, (UNROUTABLE, UNROUTABLE)),
        ("n.dead.config", "", {**OURS, "notify-code": "of-a-newer-worker"}, ("config", "of-a-newer-worker")),
        ("n.dead.config", "", {**OURS, "notify-code": "a b\x1b"}, ("config", UNNAMED)),
    ],
    ids=[
        "moved by a tool, the broker's word is left",
        "by its key",
        "a key with an unknown code",
        "moved by a tool, nothing is left",
        "no queue takes it",
        "a publisher that claims to be a worker",
        "a newer worker's code",
        "a code that is none",
    ],
)
def test_a_cause_is_found_for_every_message(
    queue: str, key: str, headers: dict[str, Any], cause: tuple[str, str]
) -> None:
    """From the headers, the routing key, the broker's words, and at last the queue."""
    letter = read(queue, key, headers)
    assert (letter.dead_class, letter.code) == cause
    assert letter.group == group_id(*cause)
    assert letter.about.text


def test_a_derived_id_depends_on_what_a_stream_keeps() -> None:
    """Content and publisher's properties, not the headers that a queue adds."""
    looked_at = read(headers={"x-delivery-count": 3, **BY_THE_BROKER})
    assert looked_at.id == read(headers={"x-stream-offset": 7}).id
    assert looked_at.id != read(body=b"other").id
    assert looked_at.id != read(properties=Properties(message_id="m")).id
    assert looked_at.id != read(properties=Properties(timestamp=NOW)).id


@pytest.mark.parametrize("dead_id", ["", "x0123456789abcdef", "two words", "\x1b[2J", 7, "a" * 65])
def test_an_id_that_cannot_be_typed_is_derived(dead_id: object) -> None:
    """It is printed, and typed again."""
    letter = read(headers={**OURS, "notify-dead-id": dead_id})
    assert letter.derived
    assert letter.id != dead_id


HEADERS = st.dictionaries(
    st.sampled_from([*OURS, *BY_THE_BROKER]),
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary() | st.datetimes(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=4,
    ),
)


@given(headers=HEADERS, key=st.text(), body=st.binary())
def test_any_message_is_a_letter(headers: dict[str, Any], key: str, body: bytes) -> None:
    """Whatever its headers are: a desk that breaks on one message shows none."""
    letter = read("notify.dead.config", key, headers, body)
    assert letter.about.text
    assert letter.died is None or letter.died.tzinfo


def test_a_letter_without_its_body_is_otherwise_the_same() -> None:
    """The id of the one and of the other are equal."""
    letter = read()
    assert letter.without_body().body == b""
    assert letter.without_body().id == letter.id
