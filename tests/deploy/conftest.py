"""A real nginx before real gateways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.nginx import Nginx, installed

Start = Callable[..., Nginx]


@pytest.fixture(scope="module")
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts nginx in front of ports; ``limits`` are patterns in the site, and what takes their place."""
    if installed() is None:
        pytest.skip("There is no nginx; scripts/install-deploy-tools.sh installs one.")
    with ExitStack() as stack:

        def start(*ports: int, locations: str = "", limits: Mapping[str, str] | None = None) -> Nginx:
            folder: Path = tmp_path_factory.mktemp("nginx")
            return stack.enter_context(Nginx(folder, ports, locations, limits or {}))

        yield start
