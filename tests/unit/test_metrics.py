"""What is counted and measured, read as Prometheus reads it."""

from collections.abc import Iterator

import pytest

from contracts.dead_letter import DeadClass, Reason
from contracts.signals import Label, Metric
from tests.support.probing import samples
from worker import metrics
from worker.exporters import Scrape, export_metrics, export_traces, flush


@pytest.fixture
def scrape() -> Iterator[Scrape]:
    """A reader of all metrics."""
    scrape = Scrape()
    provider = export_metrics({}, scrape)
    yield scrape
    flush(provider)


def value(scrape: Scrape, name: str, **labels: str) -> float:
    """One value; 0 where there is none."""
    found = [it for it in samples(scrape.page("")[1].decode()) if it.name == name and it.labels == labels]
    return found[0].value if found else 0


def test_a_tally_counts_by_its_labels(scrape: Scrape) -> None:
    """Whatever was counted before anybody read it too."""
    labels = {"class": DeadClass.CONFIG, "code": Reason.SENDER_MISSING}
    before = value(scrape, "notify_dead_letters_total", **labels)
    metrics.dead_letters.add(DeadClass.CONFIG, Reason.SENDER_MISSING)
    metrics.dead_letters.add(DeadClass.CONFIG, Reason.SENDER_MISSING)
    assert value(scrape, "notify_dead_letters_total", **labels) - before == 2


def test_a_level_forgets_what_is_no_longer(scrape: Scrape) -> None:
    """A mail server that is not used any more has no breaker."""
    metrics.breaker_state.set({("a:25",): 1, ("b:25",): 0})
    metrics.breaker_state.set({("b:25",): 1})
    page = scrape.page("")[1].decode()
    assert 'notify_breaker_state{server="b:25"} 1.0' in page
    assert "a:25" not in page


def test_a_spread_counts_durations_between_its_bounds(scrape: Scrape) -> None:
    """In seconds, by its labels."""
    metrics.event_age.record(45.0, "urgent")
    bucket = "notify_event_age_seconds_bucket"
    assert value(scrape, bucket, lane="urgent", le="30.0") == 0
    assert value(scrape, bucket, lane="urgent", le="60.0") == 1


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        },
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ],
    ids=["nothing set", "none", "disabled"],
)
def test_nothing_is_set_up_that_nobody_wants(environ: dict[str, str]) -> None:
    """Then a duration costs a comparison."""
    assert export_metrics(environ, None) is None
    assert export_traces(environ) is None


def test_every_metric_of_the_contract_is_measured() -> None:
    """By its name, with labels of the contract."""
    assert {it._about[0] for it in metrics._ALL} == set(Metric)
    assert {label for it in metrics._ALL for label in it._labels} == set(Label)
