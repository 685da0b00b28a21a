"""The Kubernetes manifests: the schemas of Kubernetes and KEDA take them, and the names in them exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from contracts.topology import Lane, work_queue
from tests.support.node import CHECKERS, node_for
from worker import __version__
from worker.pipeline import BUDGET_SECONDS
from worker.settings import SETTINGS_FILE, load, rows
from worker.worker_settings import host_and_port

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
BASE, KEDA, EXAMPLE = FOLDER / "base", FOLDER / "keda", FOLDER / "overlays" / "example"
OLDEST, NEWEST = "1.31", kubernetes_validate.latest_version()
SECRETS = {"broker-url", "smtp-password", "oauth2-client-secret", "management-url"}
NAMES = {row.name for row in rows(load({}))} | {SETTINGS_FILE}


def read(path: Path) -> dict[str, Any]:
    """A file of one object."""
    document: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return document


def objects(folder: Path) -> list[dict[str, Any]]:
    """What the kustomization of a folder lists."""
    return [read(folder / name) for name in read(folder / "kustomization.yaml")["resources"]]


DEPLOYMENT, JOB = read(BASE / "deployment.yaml"), read(BASE / "topology-job.yaml")
SCALED = read(KEDA / "scaledobject.yaml")
PODS = {it["kind"]: it["spec"]["template"] for it in (DEPLOYMENT, JOB)}
CONTAINERS = {kind: pod["spec"]["containers"][0] for kind, pod in PODS.items()}
ENVIRONMENT = {it["name"]: it for container in CONTAINERS.values() for it in container["env"]}

by_kind = pytest.mark.parametrize("kind", PODS)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", objects(BASE), ids=lambda it: it["kind"])
def test_kubernetes_takes_it(manifest: dict[str, Any], version: str) -> None:
    """Strictly: a misspelt field, which a cluster would ignore, is a fault."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    """The check above is awake."""
    typo = json.loads(json.dumps(DEPLOYMENT))
    typo["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(typo, NEWEST, strict=True)


def test_keda_takes_it() -> None:
    """Its schema ignores what it does not know, so names are compared with its types too."""
    manifests = objects(KEDA)
    done = subprocess.run(  # noqa: S603 - our own program
        [node_for(CHECKERS), CHECKERS / "keda.js"],
        input=json.dumps(manifests),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == {it["kind"]: "" for it in manifests}
    folder = CHECKERS / "node_modules" / "@kubernetes-models" / "keda" / "keda.sh" / "v1alpha1"
    known = (folder / "ScaledObjectSpec.d.ts").read_text("utf-8")
    assert all(f'"{name}"' in known for name in SCALED["spec"])


def test_the_example_renders() -> None:
    """With base, component and settings; every object is in its namespace, and the pods get their settings."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("LEFT OUT because kubectl is missing: the example was not rendered")
    done = subprocess.run([kubectl, "kustomize", EXAMPLE], capture_output=True, text=True, check=True)  # noqa: S603
    rendered = {it["kind"]: it for it in yaml.safe_load_all(done.stdout)}
    assert {it["metadata"]["namespace"] for it in rendered.values()} == {"notify"}
    assert set(rendered) == {it["kind"] for it in (*objects(BASE), *objects(KEDA))} | {"ConfigMap"}
    pod = rendered["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert pod["envFrom"][0]["configMapRef"]["name"] == rendered["ConfigMap"]["metadata"]["name"]
    assert "replicas" not in rendered["Deployment"]["spec"]


def test_the_examples_settings_can_be_read() -> None:
    """By the worker itself, with the secrets that come beside them."""
    lines = (EXAMPLE / "settings.env").read_text("utf-8").splitlines()
    settings = load({**dict(line.split("=", 1) for line in lines), "EmailSmtpOAuth2ClientSecret": "s3cret"})
    assert not settings.warnings
    assert settings.smtp.EmailSMTPHost == "smtp.office365.com"


def test_the_example_is_of_this_version() -> None:
    """The image's tag."""
    assert [it["newTag"] for it in read(EXAMPLE / "kustomization.yaml")["images"]] == [__version__]


def test_variables_are_settings() -> None:
    """By their documented names; secrets come from the Secret, and nothing else does."""
    assert set(ENVIRONMENT) <= NAMES
    keys = {it["valueFrom"]["secretKeyRef"]["key"] for it in ENVIRONMENT.values() if "valueFrom" in it}
    assert keys <= SECRETS
    parameters = read(KEDA / "triggerauthentication.yaml")["spec"]["secretTargetRef"]
    assert {it["key"] for it in parameters} <= SECRETS


def test_every_secret_is_in_the_instructions() -> None:
    """The command that makes them names them all."""
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert set(re.findall(r"--from-literal=([\w-]+)=", readme)) == SECRETS


def test_a_worker_has_time_to_finish() -> None:
    """It drains longer than the mails of one event may take, and is killed later than it has drained."""
    drain = int(ENVIRONMENT["NOTIFY_DRAIN_SECONDS"]["value"])
    assert drain > BUDGET_SECONDS
    assert PODS["Deployment"]["spec"]["terminationGracePeriodSeconds"] >= drain + 10


@by_kind
def test_a_pod_can_do_nothing_but_its_work(kind: str) -> None:
    """Without root, capabilities, writable files, the API server's token, or others' service variables."""
    pod, container = PODS[kind]["spec"], CONTAINERS[kind]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]


@by_kind
def test_a_pod_is_the_images_user(kind: str) -> None:
    """The number in the Dockerfile."""
    dockerfile = (FOLDER.parent / "Dockerfile").read_text("utf-8")
    security = PODS[kind]["spec"]["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in dockerfile


@by_kind
def test_the_network_policy_is_for_every_pod(kind: str) -> None:
    """By the label that its pods have."""
    [selected] = read(BASE / "networkpolicy.yaml")["spec"]["podSelector"]["matchExpressions"]
    assert PODS[kind]["metadata"]["labels"][selected["key"]] in selected["values"]


def test_selectors_select_the_workers_pods() -> None:
    """Of the Deployment, the budget and KEDA."""
    labels = PODS["Deployment"]["metadata"]["labels"]
    budget = read(BASE / "poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == budget == labels
    assert SCALED["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]


def test_scaling_counts_what_is_being_worked_at() -> None:
    """Of both lanes. Over AMQP it could not, and would stop the workers of the last messages."""
    triggers = [trigger["metadata"] for trigger in SCALED["spec"]["triggers"]]
    assert {trigger["queueName"] for trigger in triggers} == {work_queue(lane) for lane in Lane}
    for trigger in triggers:
        assert trigger["protocol"] == "http"
        assert trigger["excludeUnacknowledged"] == "false"
        assert trigger["mode"] == "QueueLength"
    assert SCALED["spec"]["minReplicaCount"] >= 1


def test_what_a_broker_refuses_is_not_tried_again() -> None:
    """The job fails at exit code 2, and tries again while the broker cannot be reached."""
    [rule] = JOB["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2]
    assert rule["onExitCodes"]["containerName"] == CONTAINERS["Job"]["name"]
    assert CONTAINERS["Job"]["args"] == ["topology", "apply"]


def test_probes_and_prometheus_ask_where_the_worker_answers() -> None:
    """At the pod's address, by paths that it serves; the network policy lets Prometheus in there."""
    container = CONTAINERS["Deployment"]
    host, port = host_and_port(ENVIRONMENT["NOTIFY_HEALTH_ADDRESS"]["value"])
    assert (host, container["ports"]) == ("0.0.0.0", [{"name": "health", "containerPort": port}])
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness", "startup")}
    assert {name: it["path"] for name, it in probes.items()} == {
        "liveness": "/livez",
        "readiness": "/readyz",
        "startup": "/livez",
    }
    assert {it["port"] for it in probes.values()} == {"health"}
    annotations = PODS["Deployment"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)
    policy = read(BASE / "networkpolicy.yaml")["spec"]["ingress"]
    assert [it["port"] for rule in policy for it in rule["ports"]] == [port]
