"""What tests have measured: told while they run, printed in pytest's summary, also when all has passed."""

_told: list[str] = []


def tell(sentence: str) -> None:
    """Has `sentence` printed at the end of the run."""
    _told.append(sentence)


def told() -> tuple[str, ...]:
    """All sentences so far, in the order they were told."""
    return tuple(_told)
