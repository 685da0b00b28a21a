"""Alerts, dashboard and runbook against the contract: what they name is there, and what is there they name."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from contracts.dead_letter import ABOUT, Reason
from contracts.signals import Label, Metric
from tests.support.node import LEFT_OUT
from tests.support.probing import samples
from worker import metrics
from worker.exporters import Scrape, export_metrics, flush
from worker.settings import load, rows

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
RULES: Final = DEPLOY / "alerts" / "notify-worker.rules.yml"
RULE_TESTS: Final = DEPLOY / "alerts" / "notify-worker.test.yml"
DASHBOARD: Final = json.loads((DEPLOY / "dashboards" / "notify-worker.json").read_text("utf-8"))
RUNBOOK: Final = (DEPLOY / "runbook.md").read_text("utf-8")
ALERTS: Final[list[dict[str, Any]]] = yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]
HEADINGS: Final = re.findall(r"^#{1,3} (.+)$", RUNBOOK, re.MULTILINE)
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]
EXPRESSIONS: Final = {
    **{alert["alert"]: alert["expr"] for alert in ALERTS},
    **{panel["title"]: " ".join(it["expr"] for it in panel["targets"]) for panel in PANELS},
}
SERIES: Final = re.compile(r"\b((?:notify|messaging|process)_\w+)(?:\{([^}]*)\})?")
LABEL: Final = re.compile(r"(\w+)\s*=?[=~]")
BY_TARGET: Final = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, set[str]]]:
    """Every series that a worker can tell -> the names of its labels."""
    scrape = Scrape()
    provider = export_metrics({}, scrape)
    for spread in (it for it in metrics._ALL if isinstance(it, metrics.Spread)):
        spread.record(0.0, *spread._labels)
    for level in (it for it in metrics._ALL if isinstance(it, metrics.Level)):
        level.set({tuple(level._labels): 0})
    for tally in (it for it in metrics._ALL if isinstance(it, metrics.Tally)):
        tally.add(*tally._labels)
    yield {it.name: set(it.labels) for it in samples(scrape.page("")[1].decode())}
    flush(provider)


def promtool() -> str:
    """The program, or the test's end."""
    if os.environ.get(LEFT_OUT):
        pytest.skip(f"LEFT OUT because {LEFT_OUT} is set: the alerts were not tried")
    return shutil.which("promtool") or pytest.fail("promtool is missing: run `make servers`", pytrace=False)


@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", RULE_TESTS)])
def test_prometheus_takes_the_alerts_and_they_fire_on_what_they_are_for(
    arguments: tuple[str | Path, ...],
) -> None:
    """By its own tool; the tests of the rules lie beside them."""
    done = subprocess.run([promtool(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test() -> None:
    """It names the alert."""
    text = RULE_TESTS.read_text("utf-8")
    assert not [alert["alert"] for alert in ALERTS if alert["alert"] not in text]


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_what_is_asked_for_is_told(where: str, told: dict[str, set[str]]) -> None:
    """Names and labels of series, as a worker's `/metrics` has them."""
    found = SERIES.findall(EXPRESSIONS[where])
    assert found
    for name, selector in found:
        if name != Label.DESTINATION.replace(".", "_"):
            assert name in told
            assert set(LABEL.findall(selector)) <= told[name] | BY_TARGET
    by = re.findall(r"\b(?:by|on) \(([^)]*)\)", EXPRESSIONS[where])
    grouped = {label.strip() for labels in by for label in labels.split(",")}
    assert grouped <= set.union(BY_TARGET, *(told[name] for name, _ in found if name in told))


@pytest.mark.parametrize("metric", Metric)
def test_every_metric_is_on_the_dashboard(metric: Metric) -> None:
    """What is measured can be looked at."""
    assert metric.replace(".", "_") in json.dumps(PANELS)


def test_codes_in_alerts_are_codes_of_the_contract() -> None:
    """So a renamed code cannot silence one."""
    named = re.findall(r'\bcode=~?"([^"]+)"', " ".join(alert["expr"] for alert in ALERTS))
    assert {code for names in named for code in names.split("|")} <= set(Reason)


def test_panels_do_not_lie_on_each_other() -> None:
    """Each has a place and a number of its own."""
    places = [
        (x, y)
        for at in (panel["gridPos"] for panel in PANELS)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("reason", Reason)
def test_the_runbook_has_a_heading_for_every_code(reason: Reason) -> None:
    """What was noticed, why, how to mend it, and the commands; it names the settings at fault."""
    section = re.split(rf"^### {reason}$", RUNBOOK, flags=re.MULTILINE)[1]
    section = re.split(r"^##", section, flags=re.MULTILINE)[0]
    for part in ("**Noticed:**", "**Why:**", "**Fix:**", "**Then"):
        assert part in section
    assert re.search(rf"^notify-worker dead \w+ {reason}\b", section, re.MULTILINE)
    assert not {name for name in ABOUT[reason].settings if name not in section}


def test_the_runbook_has_a_heading_for_every_alert() -> None:
    """The one that its link leads to."""
    assert {alert["alert"] for alert in ALERTS} <= set(HEADINGS)
    for alert in ALERTS:
        link = alert["annotations"]["runbook_url"]
        assert link == f"deploy/runbook.md#{alert['alert'].lower()}"


def test_the_runbook_names_nothing_that_is_not_there() -> None:
    """Headings of codes and alerts, links within it, settings."""
    thirds = re.findall(r"^### (.+)$", RUNBOOK, re.MULTILINE)
    assert set(thirds) == {*Reason, *(alert["alert"] for alert in ALERTS)}
    anchors = {re.sub(r"[^\w -]", "", it.lower()).replace(" ", "-") for it in HEADINGS}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors
    settings = set(re.findall(r"\b(?:Email[A-Z]\w+|NOTIFY_\w+)", RUNBOOK))
    assert settings <= {row.name for row in rows(load({}))}
