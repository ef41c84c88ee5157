"""What the environment asks for, and what is said where it cannot be had."""

import pytest

from relay import extras
from relay.checks import startup
from relay.turns import tracing_choice
from relay.turns.tracing import Tracing


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, "none"),
        ({"OTEL_SERVICE_NAME": "x"}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, "none"),
    ],
)
def test_exporter(environ, wanted):
    assert tracing_choice.wanted_exporter(environ) == wanted


def test_off_by_default(monkeypatch):
    monkeypatch.setattr(tracing_choice, "wanted_exporter", lambda: "none")
    assert type(tracing_choice.make_tracing()) is Tracing
    assert startup.check_tracing(None) == []


@pytest.mark.parametrize(("exporter", "hint"), [("zipkin", "otlp sends"), ("otlp", "requirements-tracing.txt")])
def test_what_cannot_be_had_is_said_and_stops_nothing(monkeypatch, exporter, hint):
    for module in (tracing_choice, startup):
        monkeypatch.setattr(module, "wanted_exporter", lambda: exporter)
        monkeypatch.setattr(module, "is_installed", lambda: False)
    (warning,) = startup.check_tracing(None)
    assert warning.id == startup.NO_TRACING
    assert hint in warning.hint
    assert not warning.is_serious()
    assert type(tracing_choice.make_tracing()) is Tracing


def test_packages_that_are_missing_are_noticed(monkeypatch):
    assert tracing_choice.is_installed()
    monkeypatch.setitem(extras._MODULES, "tracing", ("there_is.no_such_package",))
    assert not tracing_choice.is_installed()
