"""The Turns pages of the admin, on every database."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from relay.admin.chart import MINUTES, draw
from relay.admin.export import CHUNK_ROWS, harmless
from relay.admin.turns import TurnAdmin
from relay.database.connection import limited_queries
from relay.models import Turn

LIST = "/admin/relay/turn/"
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def turn(turn_id, **fields):
    given = {
        "session_id": "s-1",
        "message": f"message of {turn_id}",
        "answer": f"answer of {turn_id}",
        "reason": "answered",
        "tokens": 7,
        "first_token_seconds": 0.5,
        "duration_seconds": 2.0,
        "worker": "host:1",
        "started_at": NOW,
        "ended_at": NOW,
    }
    return Turn.objects.create(turn_id=turn_id, **{**given, **fields})


@pytest.fixture
def person(database, settings, client):
    """Log somebody in with these permissions and give their browser."""
    settings.ROOT_URLCONF = "tests.admin_urls"
    settings.GATEWAY = {**settings.GATEWAY, "ADMIN": "true"}
    settings.STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }

    def log_in(*permissions, **fields):
        user = User.objects.create_user("ann", is_staff=True, **fields)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def reader(person):
    return person("view_turn")


def shown(response):
    assert response.status_code == 200
    return [row.turn_id for row in response.context["cl"].result_list]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"a", "b", "c"}),
        ("?q=s-2", {"c"}),
        ("?q=ann", {"b"}),
        ("?q=b", {"b"}),
        ("?q=answer+of+a", {"a"}),
        ("?q=MESSAGE+of", {"a", "b", "c"}),
        ("?reason=cancelled", {"c"}),
        ("?status=503", {"b"}),
        ("?status=none&reason=answered", {"a"}),
        ("?ended_at__year=2025", {"c"}),
        ("?q=nothing+like+that", set()),
    ],
)
def test_turns_are_found_by_name_words_end_and_date(reader, query, found):
    turn("a")
    turn("b", subject="ann", message="x", answer="message of somebody", reason="upstream_error", upstream_status=503)
    turn("c", session_id="s-2", reason="cancelled", answer="message of old", ended_at=NOW - timedelta(days=365))
    assert set(shown(reader.get(LIST + query))) == found


def test_search_for_words_finds_the_newest(reader, monkeypatch):
    monkeypatch.setattr("relay.admin.search.MAX_FOUND", 2)
    for number in range(4):
        turn(f"t{number}", ended_at=NOW + timedelta(minutes=number))
    assert shown(reader.get(f"{LIST}?q=answer+of")) == ["t3", "t2"]


def test_turn_reads_like_a_conversation_with_its_neighbours(reader):
    for number in range(12):
        turn(f"t{number}", ended_at=NOW + timedelta(minutes=number), answer=f"line\n<b>{number}</b>")
    turn("elsewhere", session_id="s-2")
    this = Turn.objects.get(turn_id="t5")
    page = reader.get(reverse("admin:relay_turn_change", args=[this.pk]))
    assert [row.turn_id for row in page.context["conversation"]] == [f"t{number}" for number in range(3, 12)]
    text = page.content.decode()
    assert "&lt;b&gt;5&lt;/b&gt;" in text
    assert text.count('aria-current="true"') == 1
    assert "<textarea" not in text


def test_turn_that_is_not_there_leads_back(reader):
    assert reader.get(reverse("admin:relay_turn_change", args=[99])).status_code == 302


@pytest.mark.parametrize("permissions", [(), ("view_livesession",), ("view_user",)])
def test_who_may_not_see_turns_does_not(person, permissions):
    browser = person(*permissions)
    row = turn("a")
    named = [reverse("admin:relay_turn_named", args=[name]) for name in ("a", "nothing")]
    for path in (LIST, reverse("admin:relay_turn_change", args=[row.pk]), *named):
        assert browser.get(path).status_code == 403


@pytest.mark.parametrize("chat_page", ["true", "false"])
def test_the_chat_page_is_linked_where_there_is_one(reader, settings, chat_page):
    settings.GATEWAY = {**settings.GATEWAY, "CHAT_PAGE": chat_page}
    assert ("View site" in reader.get(LIST).content.decode()) == (chat_page == "true")


def test_who_is_not_logged_in_is_asked_to(database, client, settings, person):
    assert client.get(LIST).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("path", [f"{LIST}add/", f"{LIST}1/delete/"])
def test_nobody_adds_or_deletes_turns_here(person, path):
    browser = person(is_superuser=True)
    turn("a")
    assert browser.get(path).status_code in (302, 403)
    assert browser.post(path, {"post": "yes"}).status_code in (302, 403)
    assert Turn.objects.count() == 1


def test_nobody_changes_a_turn_here(person):
    browser = person(is_superuser=True)
    row = turn("a")
    browser.post(reverse("admin:relay_turn_change", args=[row.pk]), {"answer": "forged"})
    row.refresh_from_db()
    assert row.answer == "answer of a"


def exported(browser, turns):
    data = {"action": "export", "_selected_action": [row.pk for row in turns]}
    response = browser.post(LIST, data)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in response.headers["Content-Disposition"]

    async def read():
        return b"".join([chunk async for chunk in response.streaming_content])

    return list(csv.DictReader(io.StringIO(async_to_sync(read)().decode("utf-8-sig"))))


def test_chosen_turns_are_exported_as_they_are(reader):
    rows = [turn("a", message='say "hi",\nplease', subject="ann"), turn("b", tokens=None, started_at=None)]
    turn("not chosen")
    table = exported(reader, rows)
    assert {line["turn_id"] for line in table} == {"a", "b"}
    line = next(line for line in table if line["turn_id"] == "a")
    assert (line["message"], line["subject"], line["tokens"]) == ('say "hi",\nplease', "ann", "7")
    assert line["ended_at"] == NOW.isoformat()
    line = next(line for line in table if line["turn_id"] == "b")
    assert (line["tokens"], line["started_at"]) == ("", "")


def test_export_runs_no_formula(reader):
    [line] = exported(reader, [turn("a", message="=HYPERLINK(1)", answer="@x")])
    assert (line["message"], line["answer"]) == ("'=HYPERLINK(1)", "'@x")


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@a", "\ta", "\ra", "\na", "＝1", "＋1", "－1", "＠a"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(cell):
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("a;=1", "a;'=1"),
        ("a\t+1", "a\t'+1"),
        ("a\n-1", "a\n'-1"),
        ("a\r\n@b", "a\r\n'@b"),
        ("a;＝1", "a;'＝1"),
        (";;=1;=2", ";;'=1;'=2"),
        ('a; "=1"', 'a; "\'=1"'),
        (" =1", " '=1"),
        ("\xa0\u3000=1", "\xa0\u3000'=1"),
        ("\t=1", "'\t'=1"),
    ],
)
def test_what_would_begin_a_cell_for_another_program_gets_an_apostrophe_too(cell, safe):
    assert harmless(cell) == safe


@pytest.mark.parametrize("cell", ["", "1", "a=b", "'=1", "ü", "a; b", "a, -b", "1;2", "a\nb"])
def test_other_cells_stay_as_they_are(cell):
    assert harmless(cell) == cell


@pytest.mark.parametrize("unit", ["=", ";", "\n", " ", '"', ";=", "\n ", " ="])
def test_making_a_long_cell_harmless_takes_steps_in_proportion(unit):
    """Ten times the text, ten times the apostrophes, and each part is looked at once."""
    one, ten = harmless(unit * 1_000), harmless(unit * 10_000)
    assert abs(ten.count("'") - 10 * one.count("'")) <= 10


def test_export_asks_for_no_cursor_of_the_servers(reader, kind):
    """Behind PgBouncer each chunk may go over another connection; here each does."""
    rows = [turn(f"t{number}") for number in range(2 * CHUNK_ROWS + 1)]
    response = reader.post(LIST, {"action": "export", "_selected_action": [row.pk for row in rows]})

    async def read():
        chunks = []
        async for chunk in response.streaming_content:
            chunks.append(chunk)
            await sync_to_async(lambda: connection.close())()
        return b"".join(chunks)

    table = list(csv.DictReader(io.StringIO(async_to_sync(read)().decode("utf-8-sig"))))
    assert [line["turn_id"] for line in table] == [row.turn_id for row in reversed(rows)]


# What a link can do.


def page_of(response, status):
    """A page for people: not JSON, and no failure."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    return response.content.decode()


SLOW = "(((a+)+)+)+$"  # matching the text below would take years
TEXT = "a" * 60 + "!"


@pytest.mark.parametrize(
    "path",
    [
        *(f"{LIST}?{column}__{kind}={SLOW}" for column in ("message", "id") for kind in ("regex", "iregex")),
        f"{LIST}?ended_at__year__regex={SLOW}",
        f"/admin/auth/user/?username__regex={SLOW}",
        f"/admin/auth/group/?name__iregex={SLOW}",
        f"/admin/auth/user/?groups__name__regex={SLOW}",
    ],
)
def test_a_link_cannot_make_the_admin_match_a_pattern(person, path):
    browser = person(is_superuser=True, first_name=TEXT)
    turn("a", message=TEXT)
    assert "patterns" in page_of(browser.get(path), 400)


@pytest.mark.parametrize(
    "query",
    [
        "message__contains=a", "answer=x", "subject__startswith=a", "session_id__in=a,b", "worker=x", "tokens__gt=1",
        "reason__in=a", "reason__contains=a", "nothing=1", "_to_field=message", "_to_field=turn_id", "_popup=1",
        "ended_at__year=x", "ended_at__year=9999", "ended_at__year=0", "ended_at__year=" + 30 * "9",
        "ended_at__year=2026&ended_at__month=13", "ended_at__year=2026&ended_at__month=2&ended_at__day=30",
        "ended_at__gte=x", "ended_at__lt=9999-99-99",
        "q=" + 201 * "a", "status=x", "status=99999999999",
    ],
)  # fmt: skip
def test_a_link_with_what_the_list_does_not_offer_is_refused_on_a_page(reader, query):
    turn("a")
    page_of(reader.get(f"{LIST}?{query}"), 400)


@pytest.mark.parametrize(
    "query",
    [
        "q=%00", "q=%ff", "q=" + 200 * "a", "q=%25%5C_", "p=x", "p=" + 30 * "9", "reason__isnull=x",
        "o=99.-1.x", "all=", "e=1", "_facets=True",
        "reason=%F0%9F%92%A9", "ended_at__year=2026&ended_at__month=3&ended_at__day=1", "reason__isnull=True",
    ],
)  # fmt: skip
def test_other_odd_links_show_the_list(reader, query):
    turn("a")
    page_of(reader.get(f"{LIST}?{query}"), 200)


def test_a_null_character_in_a_filter_is_no_failure(reader):
    turn("a")
    response = reader.get(f"{LIST}?reason=%00")
    page_of(response, response.status_code)
    assert response.status_code in (200, 400)


@pytest.mark.parametrize("name", [30 * "9", "%00", "a", "1__regex"])
def test_an_odd_name_of_a_turn_leads_back(reader, name):
    assert reader.get(f"{LIST}{name}/change/").status_code == 302


def test_the_lists_own_links_are_among_what_it_offers(reader):
    turn("a")
    turn("b", reason="cancelled")
    page = reader.get(LIST).content.decode()
    links = {link.replace("&amp;", "&") for link in re.findall(r'href="(\?[^"]*)"', page)}
    assert len(links) > 8
    for link in links:
        page_of(reader.get(LIST + link), 200)


def endless(kind):
    if kind == "postgresql":
        return "SELECT pg_sleep(600)"
    return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def test_a_query_that_runs_long_is_ended_and_the_next_one_is_not(database, kind):
    with pytest.raises(OperationalError), limited_queries(0.05), connection.cursor() as cursor:
        cursor.execute(endless(kind))
    with limited_queries(0.05):
        pass
    with connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute("SELECT count(*) FROM relay_turn")
        if kind == "postgresql":
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)


def test_a_page_whose_query_runs_long_says_so(reader, kind, monkeypatch, caplog):
    turn("a")

    def search(self, request, queryset, term):
        return queryset.extra(
            where=[f"0 < ({endless(kind).replace('pg_sleep(600)', 'length(pg_sleep(600)::text)')})"]
        ), False

    monkeypatch.setattr(TurnAdmin, "get_search_results", search)
    monkeypatch.setattr("relay.admin.site.QUERY_SECONDS", 0.05)
    assert "did not answer" in page_of(reader.get(f"{LIST}?q=secret"), 503)
    assert "secret" not in caplog.text


def test_a_page_without_permission_says_so(person):
    assert "You do not have permission" in page_of(person().get(LIST), 403)


def test_a_page_that_does_not_exist_says_so(reader):
    assert "This page does not exist." in page_of(reader.get("/admin/nowhere/"), 404)


@pytest.mark.parametrize("is_migrated", [False], indirect=True)
def test_a_login_without_tables_says_what_to_run(database, settings, client, monkeypatch):
    settings.ROOT_URLCONF = "tests.admin_urls"
    settings.GATEWAY = {**settings.GATEWAY, "ADMIN": "true"}

    async def take_login(address, name):
        """Count nothing: no gateway runs."""

    monkeypatch.setattr("relay.web.login._take_login", take_login)
    response = client.post("/admin/login/", {"username": "ann", "password": "x"})
    assert "manage.py migrate" in page_of(response, 503)


def test_the_list_does_not_fetch_answers(reader):
    turn("a", answer="a long answer")
    with CaptureQueriesContext(connection) as queries:
        shown(reader.get(LIST))
    assert not any('"relay_turn"."answer"' in query["sql"] for query in queries)


def test_chart_counts_the_last_hour_by_the_minute(database):
    for seconds in (0.1, 0.2, 0.3, 0.4, 4.0):
        turn(f"t{seconds}", first_token_seconds=seconds)
    turn("failed", reason="upstream_eof", first_token_seconds=None)
    turn("stopped", reason="cancelled", ended_at=NOW - timedelta(minutes=59), first_token_seconds=0.0)
    turn("too old", ended_at=NOW - timedelta(minutes=60))
    drawing = draw(NOW)
    assert (drawing["turns"], drawing["errors"], drawing["most"]) == (7, 1, 6)
    first, *between, last = drawing["bars"]
    assert len(drawing["bars"]) == MINUTES
    assert last["title"].startswith("12:00: turns 6, errors 1, first token 0.29 s / 4 s"), (
        "of 0.1, 0.2, 0.3, 0.4 and 4 s, within 5 %"
    )
    assert first["title"].startswith("11:01: turns 1, errors 0, first token 0")
    assert all(bar["height"] == 0 for bar in between)
    assert last["height"] == 6 * first["height"] == 6 * last["failed_height"]
    assert drawing["slowest"] == "5 s"
    assert drawing["p50"].count("M") == 2  # a line does not lead over minutes without turns
    assert drawing["p50"].count("h0") == 2, "and where it would be a point, there is a dot"


def test_chart_of_an_empty_hour_is_empty(database):
    drawing = draw(NOW)
    assert (drawing["turns"], drawing["errors"], drawing["half"], drawing["p95"]) == (0, 0, "–", "")


def test_chart_stands_on_the_list_and_takes_one_query(reader, django_assert_num_queries):
    turn("a", ended_at=datetime.now(UTC))
    assert '<svg class="relay-chart"' in reader.get(LIST).content.decode()
    with django_assert_num_queries(1):
        draw(datetime.now(UTC))
