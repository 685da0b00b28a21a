"""How far ahead of its replies a server is talked to."""

import pytest

from worker.smtp.pace import REMEMBERED_SECONDS, Pace


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now


def test_a_server_is_trusted_until_it_loses_step() -> None:
    """What it offers it is taken to be able to do."""
    pace = Pace()
    assert pace.grouped
    assert pace.overlapping


@pytest.mark.parametrize(("overlapping", "grouped"), [(True, True), (False, False)])
def test_a_server_that_loses_step_is_talked_to_more_slowly_for_an_hour(
    *, overlapping: bool, grouped: bool
) -> None:
    """One step slower than what it could not bear; then it is tried again."""
    clock = Clock()
    pace = Pace(clock)
    pace.stumbled(overlapping=overlapping)
    assert (pace.grouped, pace.overlapping) == (grouped, False)
    clock.now += REMEMBERED_SECONDS - 1
    assert (pace.grouped, pace.overlapping) == (grouped, False)
    clock.now += 1
    assert (pace.grouped, pace.overlapping) == (True, True)


def test_a_later_stumble_of_less_takes_nothing_back() -> None:
    """What was found out about groups stays found out."""
    pace = Pace(Clock())
    pace.stumbled(overlapping=False)
    pace.stumbled(overlapping=True)
    assert not pace.grouped
