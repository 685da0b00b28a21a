"""The container files, read as text, since no container engine is needed to build or test this project."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from worker import probe
from worker.settings import SETTINGS_FILE, load, rows
from worker.template_files import VARIANTS

ROOT: Final = Path(__file__).parents[2]
LOOPBACK: Final = re.compile(r"127\.0\.0\.1:\d+:\d+")
PINNED: Final = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\S*")
INTERPOLATION: Final = re.compile(r"\$\{\w+(:-(\w+))?\}")
SETTING_NAMES: Final = {row.name for row in rows(load({}))} | {SETTINGS_FILE}


def interpolated(value: str) -> str:
    """What docker compose makes of a value when nothing is set."""
    return INTERPOLATION.sub(lambda found: found[2], value)


TELL_NO_LICENCE: Final = {"protobuf"}  # its licence is in a file only: BSD-3-Clause
COMPOSE: Final = (ROOT / "docker-compose.yml").read_text("utf-8")
SERVICES: Final[dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
WORKER: Final[dict[str, str]] = SERVICES["worker"]["environment"]
DOCKERFILE: Final = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
INSTRUCTIONS: Final = [
    line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")
]
LAST_STAGE: Final = INSTRUCTIONS[max(n for n, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")) :]
BASES: Final = [line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM ")]
PULLED: Final = [service["image"] for service in SERVICES.values() if "build" not in service]


def test_the_compose_file_has_broker_inbox_traces_and_worker() -> None:
    """Its services."""
    assert SERVICES.keys() == {"rabbitmq", "mailpit", "jaeger", "worker"}


def test_the_compose_specification_takes_it() -> None:
    """By its own schema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(  # noqa: S603 - a tool of the lock file
        [*command, ROOT / "docker-compose.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_worker_is_given_documented_settings_only() -> None:
    """Any other name is OpenTelemetry's own."""
    assert {name for name in WORKER if not name.startswith("OTEL_")} <= SETTING_NAMES


def test_the_worker_can_read_what_it_is_given() -> None:
    """Names and values, as they are when nothing is set in the environment of docker compose."""
    settings = load({name: interpolated(value) for name, value in WORKER.items()})
    assert not settings.warnings
    assert settings.smtp.EmailSMTPHost == "mailpit"


def test_nothing_has_to_be_set_before_the_first_start() -> None:
    """Every variable of the compose file has a default."""
    assert all(found[1] for found in INTERPOLATION.finditer(COMPOSE))
    assert COMPOSE.count("${") == len(INTERPOLATION.findall(COMPOSE))


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Passwords for trying out must not be reachable from elsewhere."""
    assert all(LOOPBACK.fullmatch(port) for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("image", [*PULLED, *BASES])
def test_images_are_pinned_to_a_version(image: str) -> None:
    """The same file is the same software tomorrow."""
    assert PINNED.fullmatch(image)


def test_the_worker_starts_when_clients_can_connect_to_the_broker() -> None:
    """The broker's own check is for its AMQP port; `ping` answers before that is open."""
    assert "check_port_connectivity" in SERVICES["rabbitmq"]["healthcheck"]["test"]
    assert SERVICES["worker"]["depends_on"]["rabbitmq"] == {"condition": "service_healthy"}


def test_the_worker_has_time_to_drain() -> None:
    """The engine kills later than the worker gives up."""
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > load({}).worker.drain_seconds


def test_the_image_needs_no_fetched_frontend() -> None:
    """It builds where only its base image is at hand."""
    assert not re.search(r"^#\s*syntax=", DOCKERFILE, re.MULTILINE)


def test_all_that_is_installed_from_outside_has_a_hash() -> None:
    """Only our own wheel, made in the same stage, comes without one; nothing is compiled from source."""
    runs = [line.removeprefix("RUN ") for line in INSTRUCTIONS if line.startswith("RUN ")]
    commands = [command.strip() for run in runs for command in run.split("&&")]
    installing = [command for command in commands if command.startswith("pip ")]
    assert installing
    for command in installing:
        hashed = "--require-hashes" in command and "--only-binary :all:" in command
        assert hashed or "--no-deps" in command, command


def test_the_image_runs_the_worker_without_root_and_without_build_tools() -> None:
    """Its last stage only copies; the number lets Kubernetes see that it is not root."""
    assert not [line for line in LAST_STAGE if line.startswith(("RUN ", "ADD "))]
    user = next(line for line in LAST_STAGE if line.startswith("USER "))
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", user)
    assert "STOPSIGNAL SIGTERM" in LAST_STAGE
    assert LAST_STAGE[-2:] == ['ENTRYPOINT ["notify-worker"]', 'CMD ["run"]']


def test_the_engine_asks_the_worker_how_it_is() -> None:
    """The image whether a new start would help, the compose file whether it is ready."""
    (check,) = [line for line in LAST_STAGE if line.startswith("HEALTHCHECK ")]
    assert check.endswith('CMD ["python", "-m", "worker.probe"]')
    assert SERVICES["worker"]["healthcheck"]["test"] == ["CMD", "python", "-m", "worker.probe", probe.READY]


def test_the_image_says_what_it_is_and_what_is_in_it() -> None:
    """Labels with names of the OCI's, and a list of everything installed, made by the tool of `make sbom`."""
    labels = set(re.findall(r"org\.opencontainers\.image\.([\w.]+)=", " ".join(LAST_STAGE)))
    assert labels == {"title", "description", "licenses", "base.name", "version", "revision"}
    assert f'base.name="docker.io/library/{BASES[-1]}"' in DOCKERFILE
    assert "cyclonedx-py environment" in DOCKERFILE


def test_what_is_installed_can_be_listed(tmp_path: Path) -> None:
    """As `make sbom` and the image do it: every package of the lock, with its version and its licence.

    They also validate the list, which takes a quarter of a minute here.
    """
    file = tmp_path / "sbom.json"
    tool = Path(sys.executable).parent / "cyclonedx-py"
    options = ["--no-validate", "--output-reproducible", "--output-file", str(file)]
    subprocess.run([tool, "environment", *options, sys.executable], check=True)  # noqa: S603 - as above
    components = json.loads(file.read_bytes())["components"]
    listed = {re.sub(r"[-_.]+", "-", it["name"]).lower(): it for it in components}
    lock = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    here = {name: version for name, version in lock if name in listed}
    assert len(here) > len(lock) * 0.9
    assert {name: listed[name]["version"] for name in here} == here
    assert {name for name in here if not listed[name].get("licenses")} <= TELL_NO_LICENCE


def test_only_what_is_copied_is_sent_to_the_build() -> None:
    """So no settings file, key or mail of a checkout ends in a layer."""
    copied = {
        source
        for line in INSTRUCTIONS
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert lines[1] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_the_gallery_has_a_sheet_a_family_and_is_small() -> None:
    """Pictures are kept in every version for ever."""
    pictures = list((ROOT / "deploy" / "gallery").glob("*.webp"))
    assert {path.stem for path in pictures} == {*VARIANTS, "languages", "front"}
    assert sum(path.stat().st_size for path in pictures) < 2 * 1024 * 1024
