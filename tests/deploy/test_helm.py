"""The chart makes what the manifest for Kubernetes has, and an ingress and a job where they are asked for."""

from __future__ import annotations

import shutil

import yaml

from tests.deploy.helm import by_hand, by_helm, render
from tests.processes import ROOT


def manifest():
    return list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "gateway.yaml").read_text()))


def kinds(documents):
    return [document["kind"] for document in documents]


def test_chart_with_its_own_values_is_the_manifest():
    assert render() == manifest()


def test_values_change_what_they_name():
    values = {"image": "other:1", "replicas": 3, "secret": "keys", "settings": {"GATEWAY__LOG_LEVEL": "DEBUG"}}
    settings, deployment, *_ = render(values)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert settings["data"] == {**manifest()[0]["data"], "GATEWAY__LOG_LEVEL": "DEBUG"}
    assert (deployment["spec"]["replicas"], container["image"]) == (3, "other:1")
    assert {"secretRef": {"name": "keys"}} in container["envFrom"]


def test_ingress_leads_to_the_service_and_outlasts_the_heartbeat():
    documents = {document["kind"]: document for document in render({"ingress": {"host": "chat.example"}})}
    ingress = documents["Ingress"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    assert (rule["host"], path["path"]) == ("chat.example", "/")
    assert backend["name"] == documents["Service"]["metadata"]["name"]
    assert backend["port"]["name"] in {port["name"] for port in documents["Service"]["spec"]["ports"]}
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "75"


def test_job_migrates_before_the_processes_start():
    assert "Job" not in kinds(render())
    job = render({"migrate": True})[-1]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert container["command"][:3] == ["python", "manage.py", "migrate"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_rendering_here_is_helms_own():
    """Where Helm is installed, both are compared."""
    if shutil.which("helm"):
        values = yaml.safe_load((ROOT / "deploy" / "helm" / "values.yaml").read_text())
        assert list(yaml.safe_load_all(by_helm({}))) == list(yaml.safe_load_all(by_hand(values)))
