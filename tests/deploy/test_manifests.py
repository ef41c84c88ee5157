"""Files for process managers: read as what they are, and compared with what the gateway does."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.urls import resolve

from relay.conf import PREFIX, Conf
from tests.deploy.ends import END_SECONDS
from tests.processes import ROOT

DEPLOY = ROOT / "deploy"


def without_prefix(environment: dict[str, str]) -> dict[str, str]:
    assert all(name.startswith(PREFIX) for name in environment)
    return {name.removeprefix(PREFIX): value for name, value in environment.items()}


STOPS = {  # where it is said how long a stop takes, or how long a process manager waits for it
    ".env.example": [],
    "docs/deployment.md": [r"kills: (\d+) s with the default"],
    "docs/operations.md": [],
    "docs/recipes.md": [r"waits (\d+) s or more before", r"--stop-timeout (\d+) "],
    "docker-compose.yml": [r"stop_grace_period: (\d+)s"],
    "deploy/compose/compose.yaml": [r"stop_grace_period: (\d+)s"],
    "deploy/helm/values.yaml": [],
    "deploy/kubernetes/gateway.yaml": [],
    "deploy/systemd/gateway@.service": [r"TimeoutStopSec=(\d+)"],
}


@pytest.mark.parametrize("name", STOPS)
def test_every_page_says_the_same_of_a_stop(name):
    text = re.sub(r"\s+", " ", (ROOT / name).read_text())
    assert f"at most {END_SECONDS:g} s " in text
    for pattern in STOPS[name]:
        waits = re.findall(pattern, text)
        assert waits, pattern
        assert set(waits) == {"50"}
        assert float(waits[0]) > Conf(dict).drain_seconds + END_SECONDS


def test_every_file_that_says_how_long_to_wait_is_held_to_it():
    words = re.compile(r"stop_grace_period|TimeoutStopSec=|--stop-timeout \d|GracePeriodSeconds: |stopwaitsecs")
    files = {path for names in ("*.yml", "*.md", "deploy/**/*", "docs/**/*.md") for path in ROOT.glob(names)}
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in files if path.is_file()}
    held = {*STOPS, "deploy/helm/templates/gateway.yaml"}
    assert {name for name, text in texts.items() if words.search(text)} <= held


# Kubernetes.


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "gateway.yaml").read_text())
    return {document["kind"]: document for document in documents}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Any]) -> dict[str, Any]:
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return container


@pytest.fixture(scope="module")
def conf(manifests: dict[str, Any]) -> Conf:
    """The settings that the manifest makes."""
    texts = without_prefix(manifests["ConfigMap"]["data"])
    return Conf(lambda: texts)


def test_settings_of_the_manifest_are_settings_and_valid(conf):
    assert conf.unknown_names() == []
    assert list(conf.problems()) == []
    assert conf.redis_url  # several processes share their sessions


def test_process_is_killed_only_after_its_drain_could_have_ended(pod, container, conf):
    pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pause[0] == "sleep"
    assert pod["terminationGracePeriodSeconds"] > int(pause[1]) + conf.drain_seconds + END_SECONDS


def test_process_that_ends_is_out_of_service_before_it_is_asked_to(container):
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] <= 5


@pytest.mark.parametrize(
    ("probe", "view"), [("startupProbe", "health"), ("readinessProbe", "ready"), ("livenessProbe", "health")]
)
def test_probe_asks_what_it_should(container, probe, view):
    request = container[probe]["httpGet"]
    assert resolve(request["path"]).url_name == view
    assert request["port"] in {port["name"] for port in container["ports"]}


def test_new_process_is_ready_before_an_old_one_ends(manifests):
    spec = manifests["Deployment"]["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert spec["replicas"] >= 2


def test_container_has_no_rights_and_cannot_write(pod, container):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_container_is_what_the_image_is(pod, container):
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"--uid {pod['securityContext']['runAsUser']} " in dockerfile
    assert f"EXPOSE {container['ports'][0]['containerPort']}\n" in dockerfile


def test_parts_of_the_manifest_fit_together(manifests):
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    (port,) = manifests["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"
    names = {source["configMapRef"]["name"] for source in _sources(manifests) if "configMapRef" in source}
    assert names == {manifests["ConfigMap"]["metadata"]["name"]}


def _sources(manifests: dict[str, Any]) -> list[dict[str, Any]]:
    return manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]["envFrom"]


# systemd.


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read(DEPLOY / "systemd" / name)
    return parser


def test_systemd_has_nothing_to_complain_of(tmp_path: Path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("There is no systemd-analyze; scripts/install-deploy-tools.sh installs it.")
    for name in ("gateway.socket", "gateway@.service", "gateway-migrate.service"):
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/gateway", str(ROOT)))  # the command must exist
    units = [str(tmp_path / name) for name in ("gateway.socket", "gateway@1.service", "gateway-migrate.service")]
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_service_starts_after_the_unit_that_migrates():
    service, migrate = unit("gateway@.service"), unit("gateway-migrate.service")
    for relation in ("Requires", "After"):
        assert "gateway-migrate.service" in service["Unit"][relation].split()
    assert migrate["Service"]["Type"] == "oneshot"  # others wait for its end
    for key in ("User", "WorkingDirectory", "EnvironmentFile", "StateDirectory"):
        assert migrate["Service"][key] == service["Service"][key]
    assert "migrate" not in (DEPLOY / "systemd" / "gateway@.service").read_text().partition("[Service]")[2]


def test_environment_file_has_settings_that_are_valid():
    settings = dict(
        line.split("=", 1)
        for line in (DEPLOY / "systemd" / "gateway.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    conf = Conf(lambda: without_prefix(settings))
    assert conf.unknown_names() == []
    assert list(conf.problems()) == []


def test_service_listens_on_its_socket_and_has_the_time_to_drain():
    service, listener = unit("gateway@.service"), unit("gateway.socket")
    assert service["Service"]["ExecStart"].endswith("manage.py serve --fd 3")
    assert service["Service"]["Sockets"] == "gateway.socket"
    assert re.fullmatch(r"gateway@\w+\.service", listener["Socket"]["Service"])
    assert float(service["Service"]["TimeoutStopSec"]) > Conf(dict).drain_seconds + END_SECONDS
    site = (DEPLOY / "nginx" / "gateway.conf").read_text()
    assert f"unix:{listener['Socket']['ListenStream']};" in site
