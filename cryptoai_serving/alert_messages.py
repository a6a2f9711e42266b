"""What goes over the wire about alerts and what a person says of them."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from edge_bundle.alerts import KeptAlert, Severity, State

LONGEST_SNOOZE_HOURS = 14 * 24
_EXAMPLE: dict[str, Any] = {
    "id": "7d1b2c485f3c9a0e",
    "severity": "critical",
    "state": "acknowledged",
    "title": "Run failed in sample",
    "summary": "failed: walk_forward_scores",
    "facts": [{"label": "walk_forward_scores", "value": "MemoryError: 3.1 GiB could not be had"}],
    "links": [{"label": "Dagster run", "address": "http://127.0.0.1:3000/runs/5f3c9a0e"}],
    "raised_at": "2026-11-22T06:00:00Z",
    "kind": "failed run in sample",
    "unwell": ["walk_forward_scores"],
    "snoozed_until": None,
    "reminders": 2,
    "changes": [
        {
            "at": "2026-11-22T08:10:00Z",
            "actor": "key 5f3c9a0e",
            "state": "acknowledged",
            "note": "more memory is on its way",
        }
    ],
}


class FactMessage(BaseModel):
    """One thing that an alert tells."""

    label: str
    value: str


class LinkMessage(BaseModel):
    """Where to look."""

    label: str
    address: str


class ChangeMessage(BaseModel):
    """What somebody said of an alert, or the platform when all was well again."""

    at: datetime
    actor: str = Field(description="Key, holder of the message's link, or the platform")
    state: State
    note: str


class AlertMessage(BaseModel):
    """An alert and what became of it."""

    id: str
    severity: Severity
    state: State
    title: str
    summary: str
    facts: list[FactMessage]
    links: list[LinkMessage]
    raised_at: datetime
    kind: str = Field(description="Alerts of one kind that wait together go out as one message")
    unwell: list[str] = Field(description="What is not well yet; when all is, the alert is resolved")
    snoozed_until: datetime | None
    reminders: int = Field(description="How often it was told again while it stayed open")
    changes: list[ChangeMessage] = Field(description="Oldest first")

    @classmethod
    def of(cls, kept: KeptAlert, now: datetime) -> Self:
        """Describe an alert as it stands now."""
        alert = kept.alert
        return cls(
            id=alert.id,
            severity=alert.severity,
            state=kept.state_at(now),
            title=alert.title,
            summary=alert.summary,
            facts=[FactMessage(label=label, value=value) for label, value in alert.facts],
            links=[LinkMessage(label=label, address=address) for label, address in alert.links],
            raised_at=alert.raised_at,
            kind=alert.kind,
            unwell=list(kept.unwell),
            snoozed_until=kept.snoozed_until,
            reminders=kept.reminders,
            changes=[
                ChangeMessage(at=one.at, actor=one.actor, state=one.state, note=one.note)
                for one in kept.changes
            ],
        )


class AlertsAnswer(BaseModel):
    """Alerts, the newest first."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"alerts": [_EXAMPLE], "request_id": "5f3c9a0e7d1b2c48"}}
    )

    alerts: list[AlertMessage]
    request_id: str


class AlertAnswer(BaseModel):
    """One alert."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"alert": _EXAMPLE, "request_id": "5f3c9a0e7d1b2c48"}}
    )

    alert: AlertMessage
    request_id: str


class AlertWord(BaseModel):
    """What an admin says of an alert."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"note": "more memory is on its way"}}
    )

    note: str = Field("", max_length=500, description="Stands in the alert's history")


class SnoozeWord(AlertWord):
    """For how long an admin wants no reminder."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"note": "after the weekend", "hours": 48}}
    )

    hours: float = Field(gt=0, le=LONGEST_SNOOZE_HOURS, description="From now on")
