"""Each alert fires when it must and only then: ``promtool test rules`` over made-up series."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.deploy.prometheus import RULES, installed

pytestmark = pytest.mark.skipif(
    installed("promtool") is None, reason="There is no promtool; scripts/install-deploy-tools.sh installs it."
)

ALERTS = [
    rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
]
UP, READY, TURNS = 'up{job="gateway",instance="%s"}', 'gateway_ready{instance="a",check="store"}', "gateway_turns_total"
RISES, STANDS = "0x10 1x50", "7x60"  # once, after ten minutes; a counter of long ago


def turns(failed, answered, minutes):
    """So many turns a minute."""
    return {
        f'{TURNS}{{reason="upstream_error"}}': f"0+{failed}x{minutes}",
        f'{TURNS}{{reason="answered"}}': f"0+{answered}x{minutes}",
    }


def times(metric, seconds, labels=""):
    """A histogram of ten observations a minute, all in the bucket of ``seconds``."""
    edges = ("0.05", "0.1", "0.25", "5.0", "30.0", "60.0", "+Inf")
    return {
        f'{metric}_bucket{{instance="a",{labels}le="{edge}"}}': "0+10x60" if float(edge) >= seconds else "0x60"
        for edge in edges
    } | {f'{metric}_count{{instance="a"}}': "0+10x60"}


def late_tokens(in_time):
    name = "gateway_turn_first_token_seconds"
    return {f'{name}_bucket{{le="5.0"}}': f"0+{in_time}x120", f"{name}_count": "0+10x120"}


def rising(metric, labels=""):
    """The cases of an alert on a counter that must stand still."""
    series = f'{metric}{{instance="a"{labels}}}'
    return [(True, 15, {series: RISES}), (False, 15, {series: STANDS}), (False, 45, {series: RISES})]


def webhooks(failed, delivered):
    name = "gateway_webhooks_total"
    return {f'{name}{{result="failed"}}': f"0+{failed}x60", f'{name}{{result="delivered"}}': f"0+{delivered}x60"}


def slow_viewers(sockets, closed):
    return {
        'gateway_slow_viewers_total{action="closed"}': f"0+{closed}x60",
        'gateway_sockets{dialect="plain"}': f"{sockets}x60",
        "gateway_event_streams": "0x60",
    }


BUILD = {"gateway_build_info": "1x800"}
LOOP, STORE = "gateway_event_loop_lag_seconds", "gateway_store_call_duration_seconds"
MESSAGES = "gateway_messages_total"

# Does it fire, after how many minutes, with which series?
CASES = {
    "GatewayAbsent": [
        (True, 5, {UP % "a": "0x10", UP % "b": "0x10"}),
        (True, 5, {'up{job="other"}': "1x10"}),
        (False, 5, {UP % "a": "0x10", UP % "b": "1x10"}),
    ],
    "GatewayDown": [
        (True, 5, {UP % "a": "0x10", UP % "b": "1x10"}),
        (False, 5, {UP % "a": "1x10", 'up{job="other"}': "0x10"}),
        (False, 1, {UP % "a": "0x10"}),
    ],
    "GatewayTurnsFailFast": [
        (True, 90, turns(10, 90, 100)),
        (False, 90, turns(1, 99, 100)),
        (False, 90, turns(0, 0, 99)),
    ],
    "GatewayTurnsFailSlow": [
        (True, 400, turns(4, 96, 420) | BUILD),
        (False, 400, turns(1, 99, 420) | BUILD),
        (False, 60, turns(4, 96, 420) | BUILD),  # three hours have not been seen
    ],
    "GatewayFirstTokensLate": [(True, 100, late_tokens(6)), (False, 100, late_tokens(9))],
    "GatewayNotReady": [(True, 5, {READY: "0x10"}), (False, 5, {READY: "1x10"}), (False, 9, {READY: "0 1x10"})],
    "GatewayDrainStuck": [
        (True, 15, {'gateway_draining{instance="a"}': "1x20"}),
        (False, 15, {'gateway_draining{instance="a"}': "1x3 0x20"}),
    ],
    "GatewayMessagesRefused": [
        (
            True,
            20,
            {f'{MESSAGES}{{result="store_unavailable"}}': "0+5x30", f'{MESSAGES}{{result="accepted"}}': "0+95x30"},
        ),
        (False, 20, {f'{MESSAGES}{{result="duplicate"}}': "0+5x30", f'{MESSAGES}{{result="accepted"}}': "0+95x30"}),
        (False, 20, {f'{MESSAGES}{{result="accepted"}}': "0x30"}),
    ],
    "GatewayQueuesWait": [
        (True, 40, times("gateway_queue_wait_seconds", 60)),
        (False, 40, times("gateway_queue_wait_seconds", 5)),
    ],
    "GatewayEventLoopLate": [(True, 20, times(LOOP, 0.25)), (False, 20, times(LOOP, 0.05))],
    "GatewayStoreSlow": [
        (True, 20, times(STORE, 0.25, 'call="append",')),
        (False, 20, times(STORE, 0.05, 'call="append",')),
        (False, 20, times(STORE, 0.25, 'call="state",')),
    ],
    "GatewayWorkersDie": [
        (True, 20, {"gateway_turns_abandoned_total": "0+1x60"}),
        (False, 15, {"gateway_turns_abandoned_total": RISES}),
    ],
    "GatewayAnnouncementsLost": [
        (True, 20, {'gateway_pubsub_gaps_total{instance="a",found_by="offset"}': "0+1x60"}),
        (False, 15, {'gateway_pubsub_gaps_total{instance="a",found_by="offset"}': RISES}),
    ],
    "GatewayForeignMessages": rising("gateway_pubsub_foreign_total"),
    "GatewaySlowViewers": [
        (True, 50, slow_viewers(100, 1)),
        (False, 50, slow_viewers(1_000, 1)),
        (False, 50, slow_viewers(0, 0)),
        (True, 50, slow_viewers(0, 1)),  # none is left
    ],
    "GatewayTranscriptsLost": rising("gateway_transcripts_dropped_total", ',cause="full"'),
    "GatewayWebhooksFail": [
        (True, 40, webhooks(1, 0)),
        (True, 118, {'gateway_webhooks_total{result="failed"}': "0x30 1x29 2x29 3x30"}),  # one, with long pauses
        (False, 40, webhooks(1, 1)),
        (False, 40, webhooks(0, 0)),
    ],
    "GatewayWebhooksLost": rising("gateway_webhooks_total", ',result="expired"'),
    "GatewayLogLinesLost": rising("gateway_log_lines_dropped_total"),
    "GatewayLogDisorder": rising("gateway_log_disorder_total", ',kind="hole"'),
    "GatewayBug": rising(TURNS, ',reason="internal"'),
    "GatewayStoreLostData": rising(TURNS, ',reason="buffer_lost"'),
    "GatewayStoreRefuses": rising("gateway_store_call_errors_total", ',error="refused"'),
}


def test_every_alert_has_cases_in_which_it_fires_and_in_which_it_does_not():
    assert list(CASES) == ALERTS
    assert all({fires for fires, _, _ in cases} == {True, False} for cases in CASES.values())


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_it_must_and_only_then(alert, tmp_path):
    tests = [
        {
            "name": f"{alert} {number}",
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0 or vector(0)',
                    "eval_time": f"{minutes}m",
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                }
            ],
        }
        for number, (fires, minutes, series) in enumerate(CASES[alert])
    ]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    result = subprocess.run([installed("promtool"), "test", "rules", str(file)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
