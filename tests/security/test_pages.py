"""What browsers are told about our pages, and the admin's login: before a real server, as behind a proxy over TLS."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from urllib.parse import urlencode

import pytest

from tests import processes

PASSWORD = "difference-engine"


@pytest.fixture(scope="module")
def site(scripted_agent: processes.Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Process]:
    """A gateway with both pages, a database of its own and an administrator, behind a proxy."""
    database = f"sqlite:///{tmp_path_factory.mktemp('database') / 'db.sqlite3'}"
    env = {**os.environ, "GATEWAY__DATABASE_URL": database, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    for command in (["migrate"], ["createsuperuser", "--noinput", "--username", "admin", "--email", "a@example.com"]):
        words = [sys.executable, "manage.py", *command]
        subprocess.run(words, cwd=processes.ROOT, env=env, check=True, capture_output=True)
    settings = {"CHAT_PAGE": "true", "ADMIN": "true", "HTTPS": "true", "TRUSTED_PROXIES": "1", "DATABASE_URL": database}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        yield gateway


def ask(site: processes.Process, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
    """One request of a client behind the proxy: status, headers, cookies and text."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    shown = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1", **headers}
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in shown.items()})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers, text


@pytest.mark.parametrize("path", ["/", "/health", "/admin/login/", "/static/relay/chat.css", "/static/none"])
def test_every_page_says_what_it_may_load_and_that_it_comes_over_tls(site, path):
    _, headers, text = ask(site, path)
    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert "<script>" not in text
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "same-origin")
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    if "text/html" in headers["Content-Type"]:
        assert headers["X-Frame-Options"] == "DENY"


def test_over_plain_http_nothing_is_said_of_tls(site):
    _, headers, _ = ask(site, "/", X_Forwarded_Proto="http")
    assert "Strict-Transport-Security" not in headers


def log_in(site: processes.Process, name: str, password: str, address: str, **headers: str) -> str:
    _, shown, page = ask(site, "/admin/login/", X_Forwarded_For=address)
    cookies = shown["Set-Cookie"]
    assert "Secure" in cookies
    token = page.partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
    body = urlencode({"username": name, "password": password, "csrfmiddlewaretoken": token}).encode()
    status, _, text = ask(
        site,
        "/admin/login/?next=/admin/",
        "POST",
        body,
        Content_Type="application/x-www-form-urlencoded",
        Cookie=cookies.partition(";")[0],
        Referer=f"https://127.0.0.1:{site.port}/admin/login/",
        X_Forwarded_For=address,
        **headers,
    )
    return "in" if status == 302 else text


TOO_MANY = "Too many attempts. Try again in "


def taken(attempts: Iterator[str]) -> int:
    """Count the attempts before the first that is refused. Time gives more: to an address, one in half a minute."""
    before = list(takewhile(lambda said: TOO_MANY not in said, attempts))
    assert all("Please enter the correct" in said for said in before)
    return len(before)


def is_refused(site: processes.Process, address: str) -> bool:
    """Is even the right password? Of three attempts time may give back one."""
    return any(TOO_MANY in log_in(site, "admin", PASSWORD, address) for _ in range(3))


def test_attempts_to_log_in_are_limited(site):
    addresses = (f"203.0.113.{number}, 192.0.2.1" for number in range(30))  # a client writes what it likes in front
    assert 10 <= taken(log_in(site, "somebody", "wrong", address) for address in addresses) < 30
    assert is_refused(site, "203.0.113.99, 192.0.2.1")
    assert log_in(site, "admin", PASSWORD, "192.0.2.2") == "in"


def test_who_chooses_addresses_within_a_network_of_ipv6_is_one_client(site):
    tried = (log_in(site, f"user{number}", "wrong", f"2001:db8:1::{number:x}") for number in range(30))
    assert 10 <= taken(tried) < 30


def test_a_login_from_another_page_is_refused(site):
    assert log_in(site, "admin", PASSWORD, "192.0.2.3", Origin="https://evil.example").count("403 Forbidden")


def test_the_admin_is_behind_its_login(site):
    status, headers, _ = ask(site, "/admin/")
    assert (status, headers["Location"]) == (302, "/admin/login/?next=/admin/")


def test_no_password_stands_in_the_log(site):
    assert PASSWORD not in site.output()
