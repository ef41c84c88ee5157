"""A database of its own for each test, without rows, in place of the test run's."""

from __future__ import annotations

import pytest

from tests.databases import default_database, new_database


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request):
    return request.param


@pytest.fixture
def is_migrated(request):
    return getattr(request, "param", True)


@pytest.fixture
def database(kind, is_migrated, tmp_path, django_db_blocker):
    with django_db_blocker.unblock():
        url = new_database(kind, tmp_path, is_migrated=is_migrated)
        with default_database(url):
            yield url
