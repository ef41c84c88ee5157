"""The chart makes what the manifest for Kubernetes has, and an ingress and a job where they are asked for."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.deploy.helm import by_hand, by_helm, documents, render
from tests.deploy.test_recipe_steps import step
from tests.processes import ROOT


def manifest():
    return documents((ROOT / "deploy" / "kubernetes" / "gateway.yaml").read_text())


def test_chart_with_its_own_values_is_the_manifest():
    assert render() == manifest()


def test_values_change_what_they_name():
    values = {"image": "other:1", "replicas": 3, "secret": "keys", "settings": {"GATEWAY__LOG_LEVEL": "DEBUG"}}
    rendered = render(values)
    deployment = rendered["Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert rendered["ConfigMap"]["data"] == {**manifest()["ConfigMap"]["data"], "GATEWAY__LOG_LEVEL": "DEBUG"}
    assert (deployment["spec"]["replicas"], container["image"]) == (3, "other:1")
    assert {"secretRef": {"name": "keys"}} in container["envFrom"]


def test_values_of_the_recipe_are_values_of_the_chart():
    values = {"settings": {}, "ingress": {}}
    for path, value in re.findall(r"--set '?([\w.]+)=([^\s']+)", step("helm upgrade")):
        group, _, name = path.rpartition(".")
        (values[group] if group else values)[name] = value.replace("\\,", ",")
    rendered = render(values)
    assert rendered["Job"]["spec"]["template"]["spec"]["containers"][0]["image"] == values["image"]
    assert rendered["Ingress"]["spec"]["rules"][0]["host"] == values["ingress"]["host"]
    assert values["settings"]["GATEWAY__ALLOWED_HOSTS"] == "chat.example,127.0.0.1"
    assert rendered["ConfigMap"]["data"].items() >= values["settings"].items()


def test_ingress_leads_to_the_service_and_outlasts_the_heartbeat():
    rendered = render({"ingress": {"host": "chat.example"}})
    ingress = rendered["Ingress"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    assert (rule["host"], path["path"]) == ("chat.example", "/")
    assert backend["name"] == rendered["Service"]["metadata"]["name"]
    assert backend["port"]["name"] in {port["name"] for port in rendered["Service"]["spec"]["ports"]}
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "75"


def test_job_migrates_before_the_processes_start():
    assert "Job" not in render()
    job = render({"migrate": True})["Job"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert container["command"][:3] == ["python", "manage.py", "migrate"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("values", [{}, {"ingress": {"host": "chat.example"}, "migrate": True, "replicas": 3}])
def test_the_rendering_here_is_helms_own(values):
    """Where Helm is installed, both are compared."""
    if shutil.which("helm"):
        assert documents(by_helm(values)) == documents(by_hand(values))
