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
    assert json.loads(command)[:3] == ["python", "manage.py", "serve"]
    (user,) = values(IMAGE, "USER")
    assert f"--uid 10001 --no-create-home {user}" in next(values(IMAGE, "RUN"))
    assert list(values(IMAGE, "STOPSIGNAL")) == ["SIGTERM"]


def test_health_check_needs_nothing_but_python():
    (check,) = values(IMAGE, "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2])[0] == "python"


def test_what_changes_most_is_copied_last_and_nothing_else_is_sent_to_the_builder():
    copied = [
        words.split()[0] for stage in stages((ROOT / "Dockerfile").read_text()) for words in values(stage, "COPY")
    ]
    assert copied[-3:] == ["manage.py", "gateway_project", "relay"]
    admitted = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    sources = {"manage.py", "gateway_project", "relay", "requirements.txt", "scripts/image"}
    assert set(admitted) == sources
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")


def test_compose_leaves_the_time_to_drain_and_nothing_to_write():
    gateway = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gateway"]
    assert float(gateway["stop_grace_period"].removesuffix("s")) >= Conf(dict).drain_seconds + END_SECONDS
    assert gateway["read_only"] is True
