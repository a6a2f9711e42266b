"""Versions of the loop's study: each midnight's training is done once, kept, and shared by who asks."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm

from cryptoai_assets.evaluate.loop_market import LoopPlan, ReplayedMarket
from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.fingerprints import code_fingerprint
from cryptoai_assets.lib.gate import (
    CALIBRATION_LIMIT,
    Bound,
    CanaryResult,
    Comparison,
    Decision,
    Evidence,
    decide,
    platform_policy,
)
from cryptoai_assets.lib.models.baselines import DIRECTION_BASELINES
from cryptoai_assets.lib.models.forecaster_model import Predictions
from cryptoai_assets.lib.models.tree_heads import LightgbmHead
from cryptoai_assets.lib.models.trees import DirectionHead, Trees
from cryptoai_assets.lib.releases import write_json
from cryptoai_assets.lib.scoring import calibration_score, direction_scores
from cryptoai_assets.lib.splits import Fold, final_stretch
from cryptoai_assets.lib.training import direction_loss

# Code whose change makes a kept version that of something else.
_CODE = (
    __name__,
    "cryptoai_assets.evaluate.loop_market",
    "cryptoai_assets.lib.models",
    "cryptoai_assets.lib.splits",
    "cryptoai_assets.lib.targets",
    "edge_bundle.candles",
    "edge_bundle.features",
    "edge_bundle.windows",
)


def training_mark(plan: LoopPlan) -> dict[str, Any]:
    """What of a plan, and which code, makes a version what it is."""
    return {
        "market": plan.market.name,
        "horizons": plan.market.horizons,
        "features": plan.features,
        "window": plan.window,
        "stretch": (plan.stretch_share, plan.stretch_minimum_bars),
        "model": asdict(plan.model),
        "seed": plan.seed,
        "code": code_fingerprint(*_CODE),
    }


@dataclass(frozen=True, slots=True)
class Version:
    """Boosted trees of the rows that were known at a midnight.

    Parameters
    ----------
    trained_at
        Midnight at which it was.
    trained_from, trained_until
        Open times of the training rows, from the first up to before the end.
    """

    name: str
    trained_at: datetime
    trained_from: datetime
    trained_until: datetime
    direction: DirectionHead

    def probability_up(self, data: Dataset) -> Float64Array:
        """Probability of up of every row."""
        return self.direction.probability_up(data)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A version's promise, and what the gate says of it.

    Parameters
    ----------
    promised
        Accuracy on the stretch that it was not trained on.
    """

    promised: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class Versions:
    """Trainings of one market and plan, kept in a folder; see `training_mark`."""

    market: ReplayedMarket
    folder: Path

    @property
    def plan(self) -> LoopPlan:
        """What is replayed."""
        return self.market.plan

    def candidate(self, now: datetime) -> Version:
        """Train at a midnight as the platform does: the final stretch is held out for the gate."""
        return self._kept(f"{now:%Y-%m-%d}", now, held_out=True)

    def of_everything(self, now: datetime) -> Version:
        """Train at a midnight on all that was known, with nothing held out."""
        return self._kept(f"{now:%Y-%m-%d} on everything", now, held_out=False)

    def named(self, name: str) -> Version:
        """Read a version that was trained before."""
        record = json.loads(self._path(name).read_bytes())
        booster = lightgbm.Booster(model_str=record["booster"])
        head = DirectionHead(tuple(record["selected"]), LightgbmHead(booster))
        times = {
            key: datetime.fromisoformat(record[key])
            for key in ("trained_at", "trained_from", "trained_until")
        }
        return Version(name, **times, direction=head)

    def judged(self, candidate: Version, champion: Version | None, now: datetime, cause: str) -> Judgement:
        """Hold a candidate against the champion on the rows that it left out, by the platform's gate.

        A champion's training ended before that of each later candidate, so that all of these rows are new to
        both.

        Parameters
        ----------
        cause
            Of the retrain.
        """
        market = self.plan.market
        data = self.market.known(now)
        stretch = self._stretch(data)
        train, test = data.between(None, stretch.train_end), data.between(stretch.test_start, now)
        said = _said(candidate.probability_up(test))
        ours = direction_loss(said, test, market.horizons)
        theirs = (
            None
            if champion is None
            else direction_loss(_said(champion.probability_up(test)), test, market.horizons)
        )
        baselines = {
            model.kind: model.fit(train, horizons=market.horizons, seed=self.plan.seed).predict(test)
            for model in DIRECTION_BASELINES
        }
        times, up = test.keys["open_time"], test.target("up", market.horizons[0])
        bootstrap = self.plan.bootstrap
        scores = direction_scores(said.probability_up[:, 0], up, times, bootstrap)
        error = calibration_score(said.probability_up[:, 0], up, times, bootstrap)
        evidence = Evidence(
            times=times,
            champion=None if theirs is None else Comparison(theirs, ours),
            baselines={
                kind: Comparison(direction_loss(told, test, market.horizons), ours, theirs)
                for kind, told in baselines.items()
            },
            scores=scores,
            bounds=(Bound(error.name, error.value, error.lower, CALIBRATION_LIMIT),),
            canaries=(self._purged(candidate, stretch),),
            same_kind=champion is not None,
            refresh_cause=cause,
            acknowledged_by=None,
        )
        return Judgement(scores[0].value, decide(evidence, platform_policy(bootstrap)))

    def _purged(self, candidate: Version, stretch: Fold) -> CanaryResult:
        """Whether the last training row's outcome was there before the first row that is scored."""
        horizon = max(self.plan.market.horizons)
        gap = (stretch.test_start - candidate.trained_until) // self.plan.market.bar
        return CanaryResult(
            "training_ends_a_horizon_before_the_stretch",
            gap >= horizon,
            f"{gap} bars lie between the training and the stretch, {horizon} needed",
        )

    def _kept(self, name: str, now: datetime, *, held_out: bool) -> Version:
        if not self._path(name).is_file():
            data = self.market.known(now)
            end = self._stretch(data).train_end if held_out else now
            train = data.between(None, end)
            fitted = Trees(self.plan.model, threads=1).direction_head(
                train, horizon=self.plan.market.horizons[0], seed=self.plan.seed
            )
            if not isinstance(fitted.head, LightgbmHead):
                raise TypeError(f"LightGBM's settings grew a {type(fitted.head).__name__}")
            record = {
                "trained_at": now.isoformat(),
                "trained_from": train.times[0].isoformat(),
                "trained_until": end.isoformat(),
                "selected": fitted.selected,
                "booster": fitted.head.booster.model_to_string(),
            }
            write_json(self._path(name), record)
        return self.named(name)

    def _stretch(self, data: Dataset) -> Fold:
        market, plan = self.plan.market, self.plan
        return final_stretch(
            data.times,
            bar=market.bar,
            share=plan.stretch_share,
            minimum_bars=plan.stretch_minimum_bars,
            horizon_bars=max(market.horizons),
        )

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.json"


def _said(probability_up: Float64Array) -> Predictions:
    said = Predictions.nothing(len(probability_up), 1)
    said.probability_up[:, 0] = probability_up
    return said
