"""What goes over the wire about experiments: what is asked for, what runs, and how far it is."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cryptoai_serving.experiment_requests import (
    ExperimentPlan,
    ExperimentRequest,
    ExperimentRequestKind,
)
from cryptoai_serving.experiment_results import ToldResult
from cryptoai_serving.release_messages import LAST_VERSION
from edge_bundle.experiment import Experiment, Metric, Mode

EXPERIMENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$"
LONGEST_REASON = 500
EXAMPLE_PLAN: dict[str, Any] = {
    "name": "calmer-trees",
    "challenger": 4,
    "mode": "split",
    "challenger_share": 0.5,
    "metric": "brier",
    "horizon_bars": 2,
    "minimal_effect": 0.002,
    "false_alarm_rate": 0.05,
    "power": 0.8,
}


class ExperimentPlanMessage(BaseModel):
    """An experiment that is to begin; its length is reckoned when it does, and nothing of it changes then."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": EXAMPLE_PLAN | {"reason": "fewer leaves, less noise"}},
    )

    name: str = Field(pattern=EXPERIMENT_NAME, description="Used once")
    challenger: int = Field(ge=1, le=LAST_VERSION, strict=True, description="Registered version")
    mode: Mode = Field(description="split: users are divided; shadow: the challenger answers nobody")
    challenger_share: float = Field(
        ge=0, lt=1, allow_inf_nan=False, description="Of users in a split; 0 in a shadow"
    )
    metric: Metric = Field(description="Loss that decides")
    horizon_bars: int = Field(ge=1, le=100_000, strict=True, description="Bars ahead, one of the model's")
    minimal_effect: float = Field(
        gt=0, allow_inf_nan=False, description="Difference of the mean loss that should be found"
    )
    false_alarm_rate: float = Field(gt=0, lt=1, description="Of the test, such as 0.05")
    power: float = Field(gt=0, lt=1, description="Of the test, such as 0.8")
    reason: str = Field(min_length=1, max_length=LONGEST_REASON, description="Kept with the request")

    @model_validator(mode="after")
    def _share_fits_the_mode(self) -> Self:
        if (self.challenger_share == 0) != (self.mode == "shadow"):
            raise ValueError(
                f"a challenger_share of {self.challenger_share:g} in mode {self.mode}: "
                "0 in a shadow, over 0 in a split"
            )
        return self

    def plan(self) -> ExperimentPlan:
        """What the platform reads."""
        return ExperimentPlan(**self.model_dump(exclude={"name", "reason"}))


class ExperimentEndMessage(BaseModel):
    """An experiment that is to end now."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "users complain"}})

    reason: str = Field(min_length=1, max_length=LONGEST_REASON, description="Kept with the experiment")


class ExperimentFiled(BaseModel):
    """The request waits for the platform, which carries it out or refuses it; see GET of this address."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "c41f8b0a92d7e635",
                "kind": "begin",
                "model": "cryptoai-forecaster-sample",
                "name": "calmer-trees",
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    id: str = Field(description="Under which it waits")
    kind: ExperimentRequestKind
    model: str
    name: str = Field(description="Of the experiment")
    request_id: str


class ExperimentRequestMessage(BaseModel):
    """A request, and what became of it."""

    id: str
    kind: ExperimentRequestKind
    name: str = Field(description="Of the experiment")
    actor: str = Field(description="The key that asked")
    reason: str
    asked_at: datetime = Field(description="UTC")
    outcome: str | None = Field(description="What became of it; null while it waits")

    @classmethod
    def of(cls, request: ExperimentRequest, outcome: str | None) -> Self:
        """Describe a request."""
        return cls(
            id=request.id,
            kind=request.kind,
            name=request.name,
            actor=request.actor,
            reason=request.reason,
            asked_at=request.asked_at,
            outcome=outcome,
        )


class ExperimentMessage(BaseModel):
    """An experiment as it runs."""

    name: str
    mode: Mode
    control: int = Field(description="Version that was champion when it began")
    challenger: int = Field(description="Version that is held against it")
    challenger_share: float = Field(description="Of users; 0 in a shadow")
    metric: Metric
    horizon_bars: int = Field(description="Bars ahead of the forecasts that decide")
    minimal_effect: float = Field(description="Difference of the mean loss that should be found")
    false_alarm_rate: float
    power: float
    times_needed: int = Field(description="Bars at which both must have answered; reckoned when it began")
    began_at: datetime = Field(description="UTC")

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Describe an experiment."""
        given = {name: getattr(experiment, name) for name in cls.model_fields}
        versions = {"control": experiment.control.version, "challenger": experiment.challenger.version}
        return cls(**given | versions)


class ExperimentResultMessage(BaseModel):
    """The newest experiment as the platform last reckoned it; before it has its length, how far it is."""

    name: str
    recommendation: str = Field(
        description="running, stopped (ended before its length: no verdict, ever), invalid, no difference, "
        "keep the control or promote the challenger"
    )
    times: int = Field(description="Bars at which both have answered and whose outcome is known")
    times_needed: int = Field(description="Bars after which it is decided, and not before")
    users: dict[str, int] = Field(description="By variant; none in a shadow")
    sample_ratio_p: float | None = Field(description="Chance of shares as uneven as those of the users")
    effect: float | None = Field(
        description="Mean loss of the challenger less that of the control; null without a verdict"
    )
    lower: float | None = Field(description="End of the effect's interval")
    upper: float | None = Field(description="End of the effect's interval")
    ended_at: datetime | None = Field(description="When somebody ended it, UTC; null where nobody did")

    @classmethod
    def of(cls, result: ToldResult) -> Self:
        """Describe a result."""
        return cls(**{name: getattr(result, name) for name in cls.model_fields})


class ExperimentsAnswer(BaseModel):
    """What runs, what the newest one showed, and what was asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "cryptoai-forecaster-sample",
                "running": EXAMPLE_PLAN
                | {"control": 3, "times_needed": 1440, "began_at": "2019-10-01T12:00:00Z"},
                "refused": "",
                "newest": {
                    "name": "calmer-trees",
                    "recommendation": "running",
                    "times": 312,
                    "times_needed": 1440,
                    "users": {"control": 51, "challenger": 47},
                    "sample_ratio_p": 0.69,
                    "effect": None,
                    "lower": None,
                    "upper": None,
                    "ended_at": None,
                },
                "requests": [
                    {
                        "id": "c41f8b0a92d7e635",
                        "kind": "begin",
                        "name": "calmer-trees",
                        "actor": "key 3f9c21ab",
                        "reason": "fewer leaves, less noise",
                        "asked_at": "2019-10-01T11:59:30Z",
                        "outcome": "has begun: 1440 bars needed",
                    }
                ],
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    model: str
    running: ExperimentMessage | None = Field(description="Null when none runs")
    refused: str = Field(description="Why the one that should run does not; empty when it does")
    newest: ExperimentResultMessage | None = Field(description="Null before the platform reckoned one")
    requests: list[ExperimentRequestMessage] = Field(description="The newest first, 20 at most")
    request_id: str
