"""Requests to begin an experiment, or to end one before its length."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal

from cryptoai_serving.filed_requests import FiledRequests, Row
from edge_bundle.experiment import Metric, Mode

ExperimentRequestKind = Literal["begin", "end"]


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """What an experiment is asked to be; its length is reckoned from it.

    Parameters
    ----------
    challenger
        Registered version that is held against the champion.
    challenger_share
        Of users, whom the challenger answers; 0 in a shadow.
    metric, horizon_bars
        Loss that decides, on forecasts of this horizon.
    minimal_effect
        Difference of the mean loss that should be found.
    false_alarm_rate, power
        Of the test.
    """

    challenger: int
    mode: Mode
    challenger_share: float
    metric: Metric
    horizon_bars: int
    minimal_effect: float
    false_alarm_rate: float
    power: float


@dataclass(frozen=True, slots=True)
class ExperimentRequest:
    """What somebody wants.

    Parameters
    ----------
    name
        Of the experiment.
    plan
        None where one is to end.
    actor
        Id of the key that asked.
    """

    id: str
    model: str
    name: str
    plan: ExperimentPlan | None
    actor: str
    reason: str
    asked_at: datetime

    @property
    def kind(self) -> ExperimentRequestKind:
        """What is to be done."""
        return "end" if self.plan is None else "begin"


class ExperimentRequests(FiledRequests[ExperimentRequest]):
    """Requests about experiments."""

    table = "experiment_requests"
    schema = """
CREATE TABLE IF NOT EXISTS experiment_requests (
    id TEXT PRIMARY KEY, model TEXT NOT NULL, name TEXT NOT NULL, plan TEXT,
    actor TEXT NOT NULL, reason TEXT NOT NULL, asked_at TEXT NOT NULL, outcome TEXT
);
"""

    def _row(self, request: ExperimentRequest) -> dict[str, Any]:
        plan = json.dumps(asdict(request.plan)) if request.plan else None
        return asdict(request) | {"plan": plan, "asked_at": request.asked_at.isoformat()}

    def _request(self, row: Row) -> ExperimentRequest:
        given = {field.name: row[field.name] for field in fields(ExperimentRequest)}
        plan = ExperimentPlan(**json.loads(row["plan"])) if row["plan"] else None
        return ExperimentRequest(
            **given | {"plan": plan, "asked_at": datetime.fromisoformat(row["asked_at"])}
        )
