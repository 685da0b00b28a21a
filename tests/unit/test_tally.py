"""The judge of the tests of endurance: what was lost, sent twice, or never asked for."""

from typing import Final

import pytest

from tests.support.load import Repeat, Tally, distances, tally, window
from tests.support.smtp_server import Accepted

ANN: Final = "ann@broddu.example"
BOB: Final = "bob@broddu.example"


def mail(address: str, at: float, message_id: str = "<1@x>") -> Accepted:
    """A mail as the server took it."""
    content = f"Subject: x\r\nMessage-ID: {message_id}\r\n\r\nHello\r\n".encode()
    return Accepted("cms@broddu.example", (address,), content, (), "", encrypted=False, connection=1, at=at)


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        pytest.param([mail(ANN, 1), mail(BOB, 2)], "2 events, 0 lost, 0 twice", id="all is well"),
        pytest.param([mail(ANN, 1)], "2 events, 1 lost, 0 twice", id="one is lost"),
        pytest.param([mail(ANN, 1), mail(ANN, 2), mail(BOB, 3)], "2 events, 0 lost, 1 twice", id="one twice"),
        pytest.param([mail(ANN, at) for at in (1, 2, 3)], "2 events, 1 lost, 2 twice", id="one three times"),
    ],
)
def test_a_tally_says_what_was_lost_and_how_often_something_was_repeated(
    accepted: list[Accepted], expected: str
) -> None:
    """Each acceptance after a mail's first is one too many."""
    assert str(tally({ANN, BOB}, accepted)) == expected


def test_a_tally_is_complete_only_where_just_what_was_due_came_under_one_name_each() -> None:
    """A mail that was not due, or another Message-ID at the second time, is as wrong as a lost one."""
    assert tally({ANN}, [mail(ANN, 1), mail(ANN, 2)]).is_complete
    assert not tally({ANN}, []).is_complete
    assert tally({ANN}, [mail(ANN, 1), mail(BOB, 2)]).strange == {BOB}
    renamed = tally({ANN}, [mail(ANN, 1), mail(ANN, 2, "<2@x>")])
    assert renamed == Tally(1, frozenset(), frozenset(), frozenset({ANN}), (Repeat(ANN, 1, 2),))
    assert not renamed.is_complete


def test_distances_are_measured_to_the_nearest_moment() -> None:
    """Negative before it; ascending."""
    repeats = [Repeat(ANN, 10.2, 11), Repeat(BOB, 19.5, 20)]
    assert distances(repeats, [10, 20]) == pytest.approx([-0.5, 0.2])
    assert window(distances(repeats, [10, 20])) == "-500 to +200 ms"
    assert window([]) == "none"
