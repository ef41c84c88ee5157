"""What the Dockerfile says. That its steps work is shown by ``make image-test``, which takes longer."""

from __future__ import annotations

import json
import re

import yaml

from relay.conf import Conf
from scripts.try_image import stages, values
from tests.deploy.ends import END_SECONDS
from tests.processes import ROOT

IMAGE = stages((ROOT / "Dockerfile").read_text())[-1]


def test_process_is_started_directly_by_an_unprivileged_user_and_hears_its_signal():
    (command,) = values(IMAGE, "CMD")
    assert json.loads(command)[:2] == ["agent-gateway", "serve"]
    (user,) = values(IMAGE, "USER")
    assert f"--uid 10001 --no-create-home {user}" in next(values(IMAGE, "RUN"))
    assert list(values(IMAGE, "STOPSIGNAL")) == ["SIGTERM"]


def test_health_check_needs_nothing_but_python():
    (check,) = values(IMAGE, "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2])[0] == "python"


def test_what_changes_most_is_copied_last_and_nothing_else_is_sent_to_the_builder():
    parts = stages((ROOT / "Dockerfile").read_text())
    packages, gateway, image = ([words.split()[:-1] for words in values(part, "COPY")] for part in parts)
    assert image[-2:] == [["--from=packages", "/venv"], ["--from=gateway", "/gateway"]]
    copied = {name for names in (*packages, *gateway, *image) for name in names if name[:1] not in "-/"}
    admitted = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(admitted) == {re.sub(r"^scripts/image/.*", "scripts/image", name) for name in copied}
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")


def test_compose_leaves_the_time_to_drain_and_nothing_to_write():
    gateway = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gateway"]
    assert float(gateway["stop_grace_period"].removesuffix("s")) > Conf(dict).drain_seconds + END_SECONDS
    assert gateway["read_only"] is True


def test_compose_for_production_is_complete():
    """Each service comes back by itself, secrets have no default, and every setting is one."""
    compose = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())
    services = compose["services"]
    assert {name: service["restart"] for name, service in services.items()} == {
        **dict.fromkeys(("nginx", "gateway", "valkey", "postgres"), "unless-stopped"),
        "migrate": "on-failure",
    }
    gateway, migrate = services["gateway"], services["migrate"]
    assert float(gateway["stop_grace_period"].removesuffix("s")) > Conf(dict).drain_seconds + END_SECONDS
    assert gateway["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert migrate["command"][:3] == ["python", "manage.py", "migrate"]
    required = r"\$\{(\w+):\?[^}]+\}"
    assert {name for name, text in gateway["environment"].items() if re.fullmatch(required, text)} >= {
        "GATEWAY__INTERNAL_API_KEY",
        "GATEWAY__SECRET_KEY",
    }
    given = {"GATEWAY__AGENT_URL": "http://agent:8001", "GATEWAY__ALLOWED_HOSTS": "chat.example"}
    texts = {
        name.removeprefix("GATEWAY__"): re.sub(required, lambda found: given.get(found[1], "secret"), text)
        for name, text in gateway["environment"].items()
    }
    conf = Conf(lambda: texts)
    assert (conf.unknown_names(), list(conf.problems())) == ([], [])
    assert compose["volumes"].keys() == {"sessions", "transcripts"}
