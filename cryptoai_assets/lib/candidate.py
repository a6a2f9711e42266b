"""A candidate: one fit, exported and registered, then scored by its own bytes on the final stretch."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from cryptoai_assets.lib.bundle_checks import bundle_checks
from cryptoai_assets.lib.canaries import canaries
from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.export import (
    Agreement,
    exported,
    graph_agreement,
    graph_predictions,
    session_outputs,
    verify_agreement,
    write_bundle,
)
from cryptoai_assets.lib.gate import Bound, Comparison, Evidence, GatePolicy
from cryptoai_assets.lib.graph_builder import BASIS_POINTS
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.baselines import DIRECTION_BASELINES, VOLATILITY_BASELINES
from cryptoai_assets.lib.models.fitted import FittedForecaster
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings, Predictions
from cryptoai_assets.lib.models.networks.problem import UNTOLD, NetworkRun
from cryptoai_assets.lib.models.zoo import model_from, model_record
from cryptoai_assets.lib.quantization import Variant
from cryptoai_assets.lib.scoring import BootstrapSettings, Score, calibration_score, share_score
from cryptoai_assets.lib.splits import Fold
from cryptoai_assets.lib.training import (
    Splits,
    TrainingSettings,
    direction_loss,
    fit_version,
    model_scores,
    volatility_loss,
)
from cryptoai_assets.lib.walk_forward import scored_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.whole_file import replace_file
from edge_bundle.windows import MarketWindow

# Loss of each row of what was said, averaged over horizons.
RowLoss = Callable[[Predictions, Dataset, Sequence[int]], Float64Array]
NO_CAUSE = "by hand"
RECORD_NAME = "candidate.json"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is kept of a training, and what is needed to have it again.

    Parameters
    ----------
    features_offered, feature_fingerprint
        Names among which the training chose, and the fingerprint of those that the bundle reads.
    cause
        Why it was trained: `NO_CAUSE`, or the cause that a sensor recorded.
    precisions
        That a network's was chosen from, with the times that its manifest does not hold; none for trees.
    version, run_id
        In MLflow; None before it is registered.
    """

    market: str
    model: str
    kind: str
    as_of: datetime
    stretch_start: datetime
    stretch_end: datetime
    data_fingerprint: str
    features_offered: tuple[str, ...]
    feature_fingerprint: str
    settings: TrainingSettings
    model_settings: ForecasterSettings
    git_commit: str
    cause: str
    bundle_digest: str
    agreement: Agreement
    precisions: tuple[Variant, ...] = ()
    version: int | None = None
    run_id: str | None = None

    def stretch(self, market: Market) -> Fold:
        """Final stretch as it was cut for this training, whatever rows were added before it since."""
        gap = max(market.horizons) * market.bar
        return Fold(0, self.stretch_start - gap, self.stretch_start, self.stretch_end)

    def write(self, folder: Path) -> None:
        """Write the record beside the bundle."""
        replace_file(folder / RECORD_NAME, json.dumps(self.to_json(), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote."""
        return cls.from_dict(json.loads((folder / RECORD_NAME).read_bytes()))

    def to_json(self) -> dict[str, Any]:
        """Record as JSON holds it, times in ISO 8601."""
        record = {**asdict(self), "model_settings": model_record(self.model_settings)}
        plain: dict[str, Any] = json.loads(json.dumps(record, default=datetime.isoformat))
        return plain

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read a record that JSON held."""
        times = {
            name: datetime.fromisoformat(record[name]) for name in ("as_of", "stretch_start", "stretch_end")
        }
        parts = {
            # A record from before there was a limit has none.
            "settings": TrainingSettings(
                **{"search_minutes": None, **record["settings"], "kinds": tuple(record["settings"]["kinds"])}
            ),
            "model_settings": model_from(record["model_settings"]),
            "agreement": Agreement(**record["agreement"]),
            "precisions": tuple(Variant(**variant) for variant in record.get("precisions", ())),
            "features_offered": tuple(record["features_offered"]),
        }
        return cls(**{**record, **times, **parts})

    def registered(self, version: int, run_id: str) -> Self:
        """Return it with its place in MLflow."""
        return replace(self, version=version, run_id=run_id)


def bundle_folder(folder: Path) -> Path:
    """Folder of a candidate's bundle."""
    return folder / "bundle"


def train_candidate(
    folder: Path,
    data: Dataset,
    splits: Splits,
    model: ForecasterSettings,
    window: MarketWindow,
    *,
    market: Market,
    settings: TrainingSettings,
    as_of: datetime,
    data_fingerprint: str,
    git_commit: str,
    cause: str,
    precision: str | None = None,
    run: NetworkRun = UNTOLD,
) -> tuple[Candidate, FittedForecaster]:
    """Fit once, export, and hold the graph against its original on the rows before the final stretch.

    A record of an earlier candidate is removed first; the new one is written once it is registered, so that
    whoever is killed in between leaves no record beside another bundle.

    Parameters
    ----------
    precision
        Name of the one to keep when the training is a repetition; None to choose by measurement.

    Raises
    ------
    ExportError
        When the graph and its original disagree, or the window cannot give golden candles.
    """
    (folder / RECORD_NAME).unlink(missing_ok=True)
    fitted = fit_version(data, splits, model, market=market, settings=settings, run=run)
    train = data.between(None, splits.stretch.train_end)
    chosen = exported(fitted, train, decided=precision)
    forecaster = write_bundle(
        bundle_folder(folder),
        fitted,
        chosen=chosen,
        market=market,
        kind=model.kind,
        golden=train,
        window=MarketWindow(
            window.candles.filter(pl.col("open_time") < splits.stretch.train_end), window.facts
        ),
        trained_until=splits.stretch.train_end,
        as_of=as_of,
        git_commit=git_commit,
    )
    compared = train.between(train.times[-min(4000, len(train.times))], None)
    found = verify_agreement(graph_agreement(forecaster, fitted, compared))
    candidate = Candidate(
        market=market.name,
        model=market.model,
        kind=forecaster.manifest.kind,
        as_of=as_of,
        stretch_start=splits.stretch.test_start,
        stretch_end=splits.stretch.test_end,
        data_fingerprint=data_fingerprint,
        features_offered=data.names,
        feature_fingerprint=forecaster.manifest.feature_fingerprint,
        settings=settings,
        model_settings=model,
        git_commit=git_commit,
        cause=cause,
        bundle_digest=forecaster.digest,
        agreement=found,
        precisions=chosen.table,
    )
    return candidate, fitted


@dataclass(frozen=True, slots=True)
class StretchResult:
    """The loaded bundle on the final stretch.

    Parameters
    ----------
    baselines
        Predictions of each baseline, fitted on the same training rows.
    coverage, calibration
        By horizon: share of known outcomes within the bundle's interval, and expected calibration error.
    """

    test: Dataset
    predictions: Predictions
    baselines: Mapping[str, Predictions]
    scores: tuple[Score, ...]
    coverage: tuple[Score, ...]
    calibration: tuple[Score, ...]


def score_stretch(
    forecaster: Forecaster, data: Dataset, splits: Splits, *, market: Market, settings: TrainingSettings
) -> StretchResult:
    """Run the loaded bundle and the baselines over the final stretch."""
    test = data.between(splits.stretch.test_start, splits.stretch.test_end)
    train = data.between(None, splits.stretch.train_end)
    predictions = graph_predictions(forecaster, test)
    baselines = {
        model.kind: model.fit(train, horizons=market.horizons, seed=settings.seed).predict(test)
        for model in (*DIRECTION_BASELINES, *VOLATILITY_BASELINES)
    }
    bootstrap, times = settings.bootstrap(market), test.keys["open_time"]
    scores = model_scores(predictions, test, horizons=market.horizons, bootstrap=bootstrap)
    return StretchResult(
        test=test,
        predictions=predictions,
        baselines=baselines,
        scores=tuple(scores),
        coverage=_coverage(forecaster, test, market, bootstrap),
        calibration=tuple(
            calibration_score(predictions.probability_up[:, k], test.target("up", h), times, bootstrap)
            for k, h in enumerate(market.horizons)
        ),
    )


def baseline_frame(result: StretchResult, horizons: Sequence[int]) -> pl.DataFrame:
    """What the baselines said on the final stretch beside the outcomes, told apart by ``model``."""
    return pl.concat(
        scored_frame(result.test, said, horizons).with_columns(model=pl.lit(kind))
        for kind, said in result.baselines.items()
    )


def _coverage(
    forecaster: Forecaster, test: Dataset, market: Market, bootstrap: BootstrapSettings
) -> tuple[Score, ...]:
    """Share of known outcomes between the bundle's lower and upper ends, by horizon."""
    manifest = forecaster.manifest
    outputs = session_outputs(forecaster.session, test.with_features(manifest.features), manifest.lookback)
    shares = []
    for column, horizon in enumerate(market.horizons):
        realised = test.target("return", horizon) * BASIS_POINTS
        known = np.isfinite(realised)
        inside = (realised >= outputs["lower_bps"][:, column]) & (realised <= outputs["upper_bps"][:, column])
        times = test.keys["open_time"].filter(known)
        shares.append(share_score("coverage", inside[known].astype(np.float64), times, bootstrap))
    return tuple(shares)


def gate_evidence(
    candidate: Candidate,
    forecaster: Forecaster,
    result: StretchResult,
    champion: Forecaster | str | None,
    window: MarketWindow,
    *,
    market: Market,
    policy: GatePolicy,
    acknowledged_by: str | None,
    sharpe: Score,
) -> Evidence:
    """Gather what the gate decides on; the champion answers on the same rows, all after both trainings.

    Parameters
    ----------
    champion
        Or why it cannot be loaded; None when nothing was released before.
    sharpe
        Of the backtest, for the leak alarm.
    """
    horizons = market.horizons
    unable = champion if isinstance(champion, str) else _unable(champion, result.test, horizons)
    theirs = (
        None
        if champion is None or isinstance(champion, str) or unable
        else _after_both_trainings(champion, forecaster, result)
    )
    directions = {model.kind for model in DIRECTION_BASELINES}

    def beside(said: Predictions, loss: RowLoss) -> Comparison:
        held = None if theirs is None else loss(theirs, result.test, horizons)
        return Comparison(
            loss(said, result.test, horizons), loss(result.predictions, result.test, horizons), held
        )

    baselines = {
        kind: beside(said, direction_loss if kind in directions else volatility_loss)
        for kind, said in result.baselines.items()
    }
    promised = forecaster.manifest.interval_coverage
    bounds = [
        *(
            Bound.around(promised, share, name=f"h{h}/coverage_error", limit=policy.coverage_tolerance)
            for h, share in zip(horizons, result.coverage, strict=True)
        ),
        *(
            Bound(f"h{h}/calibration_error", error.value, error.lower, policy.calibration_limit)
            for h, error in zip(horizons, result.calibration, strict=True)
        ),
    ]
    return Evidence(
        times=result.test.keys["open_time"],
        champion=None if theirs is None else replace(beside(theirs, direction_loss), champion=None),
        baselines=baselines,
        scores=(*result.scores, sharpe),
        bounds=bounds,
        canaries=(
            *canaries(forecaster, window, seed=candidate.settings.seed),
            *bundle_checks(forecaster, for_devices=market.for_devices),
        ),
        same_kind=isinstance(champion, Forecaster) and champion.manifest.kind == candidate.kind,
        refresh_cause=None if candidate.cause == NO_CAUSE else candidate.cause,
        acknowledged_by=acknowledged_by,
        champion_unable=unable,
    )


def _unable(champion: Forecaster | None, test: Dataset, horizons: Sequence[int]) -> str | None:
    """Why a champion cannot answer rows; None when it can, or there is none."""
    if champion is None:
        return None
    manifest = champion.manifest
    if tuple(manifest.horizons) != tuple(horizons):
        return f"it forecasts {_listed(manifest.horizons)} bars ahead, and the market now {_listed(horizons)}"
    if absent := [name for name in manifest.features if name not in test.names]:
        return f"it reads {_listed(absent)}, which the training data does not hold"
    return None


def _listed(values: Sequence[object]) -> str:
    return ", ".join(f"{value}" for value in values)


def _after_both_trainings(champion: Forecaster, forecaster: Forecaster, result: StretchResult) -> Predictions:
    """What the champion says of the stretch; NaN in rows from before the end of either training."""
    said = graph_predictions(champion, result.test)
    trained = max(datetime.fromisoformat(one.manifest.trained_until) for one in (champion, forecaster))
    fresh = (result.test.keys["open_time"] >= trained).to_numpy()[:, None]
    unsaid = Predictions.nothing(*said.probability_up.shape)
    return Predictions(
        np.where(fresh, said.expected_return, unsaid.expected_return),
        np.where(fresh, said.probability_up, unsaid.probability_up),
        np.where(fresh, said.expected_volatility, unsaid.expected_volatility),
    )
