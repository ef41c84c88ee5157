"""Conversations and their ended turns, which outlive their session's log, and the admin's name for a live session."""

from __future__ import annotations

from django.db import models

GOOD_REASONS = ("answered", "cancelled")
# For queries: with constants instead of parameters, by which SQLite finds the index of failed turns.
FAILED = models.Func(
    models.F("reason"),
    template="NOT (%(expressions)s IN ('answered', 'cancelled'))",
    output_field=models.BooleanField(),
)
MAX_SUBJECT_CHARACTERS = 255
MAX_TITLE_CHARACTERS = 200
MAX_PLACE_CHARACTERS = 48
MAX_FINISH_REASON_CHARACTERS = 100


class Conversation(models.Model):
    """A session as people find it again: whose it is, its title, when it was last used.

    Written with the session's ended turns, by ``relay.transcripts.writer``, and by REST.
    """

    session_id = models.CharField("session", max_length=128, unique=True)
    subject = models.CharField(
        "user", max_length=MAX_SUBJECT_CHARACTERS, blank=True, help_text="Its owner; empty without a login."
    )
    title = models.CharField(max_length=MAX_TITLE_CHARACTERS, blank=True)
    is_renamed = models.BooleanField("renamed", default=False, help_text="The owner chose the title.")
    metadata = models.JSONField(default=dict, blank=True, help_text="Any JSON object, for front ends.")
    created = models.DateTimeField()
    updated = models.DateTimeField(help_text="When its last turn ended.")

    class Meta:
        """Indexes for one user's list, and for pruning."""

        ordering = ("-updated", "-id")
        # Every database of Django's stores JSON. Stated here, system checks need not ask SQLite for it, which would
        # open the file: an event loop forbids that, and where transcripts are off there may be none.
        required_db_features = ("supports_json_field",)
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["subject", "updated"], name="conversation_by_subject"),
            models.Index(fields=["updated"], name="conversation_by_time"),
        )

    def __str__(self) -> str:
        return self.title or self.session_id


class Turn(models.Model):
    """An ended turn: message, answer and outcome. Written once, by ``relay.transcripts.writer``.

    ``started_at``, ``tokens`` and the times are unknown (null) of a turn whose worker died, and no other
    continued it.
    """

    turn_id = models.CharField("turn", max_length=64, unique=True)
    session_id = models.CharField("session", max_length=128)
    subject = models.CharField(
        "user", max_length=MAX_SUBJECT_CHARACTERS, blank=True, help_text="Who asked; empty if nobody logged in."
    )
    message = models.TextField(help_text="Its content; of a forwarded kind the whole message as JSON.")
    answer = models.TextField(blank=True, help_text="As far as it came.")
    reason = models.CharField(
        "end", max_length=32, help_text="How it ended: answered, cancelled, or the code of its error."
    )
    tokens = models.PositiveIntegerField(null=True, help_text="Frames of text.")
    first_token_seconds = models.FloatField("first token (s)", null=True, help_text="Seconds to the first text.")
    duration_seconds = models.FloatField("duration (s)", null=True, help_text="Seconds from start to end.")
    worker = models.CharField(max_length=128, help_text="The process that ended it: host and process id.")
    started_at = models.DateTimeField("started", null=True)
    ended_at = models.DateTimeField("ended")
    error = models.TextField(blank=True, help_text="Why it failed, as far as the agent or the connection tells.")
    upstream_status = models.PositiveIntegerField(
        "agent's status", null=True, help_text="HTTP status of the agent's response to a turn that failed."
    )
    input_tokens = models.PositiveBigIntegerField(null=True, help_text="Tokens of models, as the agent reports them.")
    output_tokens = models.PositiveBigIntegerField(null=True, help_text="Tokens of models, as the agent reports them.")
    # Of older turns, and of those that an older version writes, the rest is empty.
    place = models.CharField(
        max_length=MAX_PLACE_CHARACTERS, blank=True, default="", db_default="", help_text="Orders a session's turns."
    )
    finish_reason = models.CharField(max_length=MAX_FINISH_REASON_CHARACTERS, blank=True, default="", db_default="")
    failure = models.TextField(blank=True, default="", db_default="", help_text="Why it failed, as clients were told.")
    events = models.TextField(
        blank=True, default="", db_default="", help_text="The agent's other events, as JSON: position and event."
    )
    events_left_out = models.PositiveIntegerField(default=0, db_default=0, help_text="Events that had no room.")

    class Meta:
        """Indexes for the admin's lists: the newest, a session's, a user's, an outcome's; the last hour; failures."""

        ordering = ("-ended_at", "-id")
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["ended_at", "reason", "first_token_seconds"], name="turn_by_time"),
            models.Index(fields=["session_id", "ended_at"], name="turn_by_session"),
            models.Index(fields=["session_id", "place", "ended_at"], name="turn_by_place"),
            models.Index(fields=["subject", "ended_at"], name="turn_by_subject"),
            models.Index(fields=["reason", "ended_at"], name="turn_by_reason"),
            models.Index(fields=["ended_at"], name="turn_failed_by_time", condition=~models.Q(reason__in=GOOD_REASONS)),
        )

    def __str__(self) -> str:
        return f"{self.session_id}, {self.ended_at:%Y-%m-%d %H:%M:%S}: {self.reason}"


class LiveSession(models.Model):
    """A session of the session layer, as the admin names it: for permissions and for its history. There is no table."""

    session_id = models.CharField("session", max_length=128, primary_key=True)

    class Meta:
        """Viewing and acting are separate permissions."""

        managed = False
        default_permissions = ("view",)
        permissions = (("act_on_livesession", "Can stop, clear, disconnect, delete and notify live sessions"),)

    def __str__(self) -> str:
        return self.session_id
