"""Imports only go down: the floors of the house, drawn from the source itself."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

FLOORS: Final[tuple[tuple[str, str], ...]] = (
    (
        "ground",
        """worker errors settings settings_file worker_settings telemetry metrics exporters address redact
        tolerance""",
    ),
    (
        "pure deciders",
        """decode render addressees answers canvas contents look piece placeholders proofread specimens
        stationery template_files template_names wording writing mime outcome verdict retry owed findings
        desk desk.letter desk.selection desk.removal desk.account desk.groups desk.veil desk.choice
        smtp smtp.plan smtp.replies smtp.reader smtp.transaction smtp.pace smtp.pool
        smtp.certificate smtp.claims trail policies
        sender sender.spf_record sender.spf_macros""",
    ),
    (
        "input and output",
        """pipeline settle copies records adoption recent quarantine journal broker connector declare delivery
         logins management outage publish survey stream depths permissions endpoint desk.reading desk.ndjson
         desk.begun desk.canary desk.case desk.discard desk.edit desk.holding desk.ledger desk.message desk.past
         desk.redrive desk.restore desk.rounds desk.workplace
        smtp.border smtp.oauth2 smtp.sasl smtp.session smtp.wire smtp.steps smtp.diagnose smtp.opening
        sender.lookup sender.spf sender.dmarc sender.assess""",
    ),
    ("composed steps", "consume deliver approach health whereabouts whereis vitals"),
    ("life cycle", "revision succession reload mending service"),
    (
        "commands",
        """cli screens check preview send_test doctor probe commands commands.shell commands.progress
        commands.whereis commands.doctor commands.dead commands.dead_screens commands.dead_changes
        commands.dead_options
        commands.dead_reports __main__""",
    ),
)
"""From the ground up: name of a floor, and the worker's modules on it. All stand on the contracts."""

FORBIDDEN: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "worker.smtp",
        """worker.decode worker.render worker.pipeline worker.consume worker.settle worker.deliver
        contracts.events contracts.topology""",
        "the SMTP library knows sessions, not events or queues",
    ),
    (
        "worker.pipeline",
        "worker.deliver worker.consume worker.settle worker.smtp",
        "the pipeline is given its steps that do input and output",
    ),
    ("worker.consume", "worker.pipeline worker.deliver", "the consumer is given what to do with a delivery"),
)
"""Module or package, what it must not import, and why."""

READERS_OF_SETTINGS: Final = {
    f"worker.{module}"
    for module in (
        "settings",
        "revision",
        "reload",
        "service",
        "check",
        "send_test",
        "cli",
        "screens",
        "probe",
        "commands",
    )
}
"""Modules and packages."""


def name_of(path: Path) -> str:
    """The dotted name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES: Final = {
    name_of(path): path for top in ("contracts", "worker") for path in ROOT.glob(f"{top}/**/*.py")
}
LEVELS: Final = {
    "worker" if module == "worker" else f"worker.{module}": level
    for level, (_, modules) in enumerate(FLOORS)
    for module in modules.split()
}
WORKERS: Final = sorted(name for name in MODULES if name.startswith("worker"))


def imports(name: str) -> Iterator[str]:
    """Every module that a module imports, wherever in its source the import stands."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _imports_from(name, node)


def _imports_from(name: str, node: ast.ImportFrom) -> Iterator[str]:
    assert node.level == 0, f"{name}, line {node.lineno}: import by the full name, so that it can be searched"
    for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        yield inner if inner in MODULES else str(node.module)


def within(name: str, packages: str) -> bool:
    """Whether a module is one of `packages` or inside one."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages.split())


def test_every_module_is_on_the_map() -> None:
    """A new module says where it stands, and one that is gone leaves."""
    unplaced = set(WORKERS) - LEVELS.keys()
    assert not unplaced, f"put {', '.join(sorted(unplaced))} on a floor in {Path(__file__).name}"
    gone = LEVELS.keys() - set(WORKERS)
    assert not gone, f"take {', '.join(sorted(gone))} off its floor in {Path(__file__).name}"


@pytest.mark.parametrize("name", sorted(LEVELS.keys() & set(WORKERS)))
def test_a_module_imports_from_its_floor_or_below(name: str) -> None:
    """Nobody knows who stands above."""
    upward = {other for other in imports(name) if LEVELS.get(other, 0) > LEVELS[name]}
    assert not upward, f"{name} ({FLOORS[LEVELS[name]][0]}) imports upwards: {', '.join(sorted(upward))}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_imports_what_is_not_shipped(name: str) -> None:
    """Tests and deployment scripts may look in, never the other way round."""
    assert not [other for other in imports(name) if within(other, "tests deploy")]


@pytest.mark.parametrize("name", sorted(set(MODULES) - set(WORKERS)))
def test_contracts_rely_on_pydantic_only(name: str) -> None:
    """Somebody else can take them as they are."""
    foreign = {other for other in imports(name) if not within(other, "contracts pydantic pydantic_core")}
    assert {other.partition(".")[0] for other in foreign} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(("part", "others", "why"), FORBIDDEN, ids=[part for part, _, _ in FORBIDDEN])
def test_a_part_does_not_know_its_surroundings(part: str, others: str, why: str) -> None:
    """Beside the floors: what is given, not imported."""
    known = {
        f"{name} imports {other}"
        for name in WORKERS
        if within(name, part)
        for other in imports(name)
        if within(other, others)
    }
    assert not known, f"{why}, but {', '.join(sorted(known))}"


def test_only_the_composition_root_and_the_commands_read_settings() -> None:
    """Parts take plain values, so that they can be used and tested without an environment."""
    readers = {name for name in WORKERS if any(within(other, "worker.settings") for other in imports(name))}
    assert not {name for name in readers if not within(name, " ".join(READERS_OF_SETTINGS))}
