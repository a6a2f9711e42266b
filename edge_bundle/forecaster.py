"""The forecaster: a verified bundle that turns a market window into forecasts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from edge_bundle.candles import interval_duration
from edge_bundle.errors import BundleRefusedError, WindowRefusedError
from edge_bundle.features.catalog import chosen_features, fingerprint, newest_features
from edge_bundle.features.sources import facts_read, symbols_compared, with_sources
from edge_bundle.forecast import (
    MEMBER_SEPARATOR,
    MEMBER_VALUE_NAMES,
    VALUE_NAMES,
    Abstention,
    Forecast,
    HorizonForecast,
    MemberForecast,
    member_names,
)
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, Manifest, bundle_digest
from edge_bundle.session import ModelSession
from edge_bundle.windows import Float32Array, MarketWindow, ModelInput, model_input, window_grid

OUTSIDE_RANGE = "outside_range"
STALE_INTERVALS = 2
MAX_BRIDGED_SHARE = 0.05
GOLDEN_CANDLES_NAME = "golden_candles.parquet"
GOLDEN_FACTS_NAME = "golden_facts.parquet"
# Standardised differences that another machine may show on the same inputs.
TOLERANCE = {"fp32": 1e-5, "int8": 0.02}


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Result of replaying the golden rows on this machine.

    Parameters
    ----------
    largest_difference
        Over all outputs, in standard deviations of the golden output.
    largest_feature_difference
        Over the input recomputed from the golden candles, in each feature's scale.
    """

    passed: bool
    rows: int
    largest_difference: float
    largest_feature_difference: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A bundle that was verified and loaded; make it with `load`."""

    folder: Path
    manifest: Manifest
    digest: str
    session: ModelSession

    @classmethod
    def load(cls, folder: Path | str, *, threads: int = 1) -> Self:
        """Verify a bundle folder and open its graph.

        Raises
        ------
        BundleRefusedError
            When a file is absent or changed, or this code computes other features than the bundle's.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        manifest.verify_files(folder)
        here = tuple(feature.warmup for feature in chosen_features(manifest.features))
        if fingerprint(manifest.features) != manifest.feature_fingerprint or here != manifest.warmups:
            raise BundleRefusedError(
                f"features of this code have the fingerprint {fingerprint(manifest.features)[:12]}…, "
                f"the bundle was made with {manifest.feature_fingerprint[:12]}…: "
                "install the version that made it, or train anew"
            )
        session = ModelSession.open(folder / GRAPH_NAME, threads=threads)
        return cls(folder, manifest, bundle_digest(folder), session)

    def forecast(self, window: MarketWindow, now: datetime | None = None) -> tuple[Forecast, ...]:
        """Forecast every symbol of the window after its newest bar.

        Parameters
        ----------
        now
            Time of asking, with a time zone. None replays: it is then the close of the newest bar of all.

        Returns
        -------
        tuple of Forecast
            One for each symbol in the window, in alphabetical order; those that cannot be answered abstain.

        Raises
        ------
        CandlesRefusedError, FactsRefusedError, WindowRefusedError
            When the window breaks its contract or does not fit the bundle; a reason that time may mend, such
            as too few bars or stale data, is an abstention instead.
        """
        grid = window_grid(
            window, interval=self.manifest.interval, max_missing_bars=self.manifest.max_missing_bars
        )
        self._refuse_unfitting(window)
        if grid.is_empty():
            raise WindowRefusedError(
                f"the window holds no candle; {self.manifest.bars_needed} a symbol needed"
            )
        step = interval_duration(self.manifest.interval)
        newest = grid["open_time"].max()
        assert isinstance(newest, datetime)  # noqa: S101 — narrows polars' union for the type checker
        if now is not None and now < newest + step:
            raise WindowRefusedError(
                f"the bar of {newest:%Y-%m-%d %H:%M} UTC closes at {newest + step:%H:%M}, after now "
                f"({now:%Y-%m-%d %H:%M:%S}): send closed bars only"
            )
        at, absent = now or newest + step, self._absent_facts(window)
        bars_by_symbol = _by_symbol(grid)
        tails = {symbol: self._tail(bars) for symbol, bars in bars_by_symbol.items()}
        unfit = {symbol: absent or self._unfit(bars, at) for symbol, bars in bars_by_symbol.items()}
        sourced = self.sourced(pl.concat(tails.values()), window.facts)
        return tuple(
            self._symbol_forecast(tail, unfit[symbol] or self._unaccompanied(symbol, tails, unfit))
            for (symbol, tail) in zip(tails, sourced.partition_by("symbol", maintain_order=True), strict=True)
        )

    def outputs(self, values: Float32Array) -> dict[str, Float32Array]:
        """Raw outputs of the graph for a batch of inputs (batch, lookback, features)."""
        return self.session.run(values)

    def newest_window(self, window: MarketWindow, symbol: str) -> ModelInput:
        """Input from which `forecast` answers about a symbol; empty where features are not known."""
        grid = window_grid(
            window, interval=self.manifest.interval, max_missing_bars=self.manifest.max_missing_bars
        )
        tails = [self._tail(bars) for bars in grid.partition_by("symbol", maintain_order=True)]
        return self._newest_input(self.sourced(pl.concat(tails), window.facts).filter(symbol=symbol))

    def sourced(self, grid: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
        """Grid bars with every column that the bundle's features read."""
        return with_sources(
            grid,
            self.manifest.features,
            facts=facts,
            greatest_age={name: timedelta(seconds=age) for name, age in self.manifest.facts.items()},
            bar=interval_duration(self.manifest.interval),
        )

    def selftest(self) -> SelfTest:
        """Replay the golden candles and rows of the bundle on this machine."""
        with np.load(self.folder / GOLDEN_NAME) as archive:
            golden = dict(archive)
        outputs = self.outputs(golden["window"])
        promised = dict.fromkeys((*VALUE_NAMES, OUTSIDE_RANGE, *outputs))
        differences = [_standardised(outputs[name], golden[name]) for name in promised]
        window = self._golden_window()
        grid = window_grid(
            window, interval=self.manifest.interval, max_missing_bars=self.manifest.max_missing_bars
        )
        scales = np.array([feature.scale for feature in chosen_features(self.manifest.features)])
        known = golden["candle_window"]
        sourced = self.sourced(grid, window.facts)
        computed = self._newest_input(self._tail(sourced.filter(symbol=sourced["symbol"][-1]))).values
        drift = (
            np.abs(computed - known) / np.maximum(np.abs(known), scales)
            if computed.size
            else np.array([np.inf])
        )
        tolerance = TOLERANCE[self.manifest.quantization["precision"]]
        # float32 keeps about seven digits: a computation that differs in the last of them is the same one.
        largest = float(np.max(differences))  # unlike max(), it is NaN when one of them is, and fails
        passed = largest <= tolerance and float(drift.max()) <= 1e-6
        return SelfTest(passed, len(golden["window"]), largest, float(drift.max()), tolerance)

    def _golden_window(self) -> MarketWindow:
        candles = pl.read_parquet(self.folder / GOLDEN_CANDLES_NAME)
        if GOLDEN_FACTS_NAME not in self.manifest.files:
            return MarketWindow(candles)
        return MarketWindow(candles, pl.read_parquet(self.folder / GOLDEN_FACTS_NAME))

    def _refuse_unfitting(self, window: MarketWindow) -> None:
        manifest, bars_by_symbol = self.manifest, _by_symbol(window.candles)
        if unknown := [symbol for symbol in bars_by_symbol if symbol not in manifest.symbols]:
            raise WindowRefusedError(
                f"symbols not in this bundle: {', '.join(unknown)}; it knows {', '.join(manifest.symbols)}"
            )
        for symbol, bars in bars_by_symbol.items():
            step = bars["open_time"].diff().min()
            if isinstance(step, timedelta) and step > interval_duration(manifest.interval):
                raise WindowRefusedError(
                    f"bars of {symbol} are {step} apart; this bundle reads {manifest.interval} bars"
                )

    def _newest_input(self, tail: pl.DataFrame) -> ModelInput:
        """Input of the last bar, from exactly `bars_needed` bars: the same bits whatever came before.

        Parameters
        ----------
        tail
            Of one symbol, from `_tail`, with what features read besides.
        """
        return model_input(
            newest_features(tail, self.manifest.features, bars=self.manifest.lookback),
            self.manifest.features,
            lookback=self.manifest.lookback,
            bar=interval_duration(self.manifest.interval),
        )

    def _tail(self, grid: pl.DataFrame) -> pl.DataFrame:
        """Bars of one symbol since its last hole, as many as are needed or fewer."""
        return grid.filter(pl.col("segment") == pl.col("segment").last()).tail(self.manifest.bars_needed)

    def _symbol_forecast(self, tail: pl.DataFrame, abstention: Abstention | None) -> Forecast:
        open_time = tail["open_time"][-1]
        values: Mapping[str, npt.NDArray[np.float32]] | None = None
        input_sha256 = newest_input = None
        if abstention is None:
            newest = self._newest_input(tail)
            if not len(newest.values):
                abstention = Abstention("missing_facts", self._unknown(tail))
            else:
                values = self.outputs(newest.values)
                input_sha256 = newest.input_sha256(0)
                newest_input = newest.values[0, -1].tobytes()
                abstention = self._outside(float(values[OUTSIDE_RANGE][0]))
        answered = values if abstention is None else None
        return Forecast(
            symbol=tail["symbol"][0],
            open_time=open_time,
            known_at=open_time + interval_duration(self.manifest.interval),
            interval=self.manifest.interval,
            model=self.manifest.model,
            bundle=self.digest,
            interval_coverage=self.manifest.interval_coverage,
            horizons=tuple(
                HorizonForecast(
                    horizon,
                    **{name: float(answered[name][0, column]) if answered else None for name in VALUE_NAMES},
                )
                for column, horizon in enumerate(self.manifest.horizons)
            ),
            abstention=abstention,
            input_sha256=input_sha256,
            newest_input=newest_input,
            members=self._members(answered) if answered else (),
        )

    def _members(self, values: Mapping[str, npt.NDArray[np.float32]]) -> tuple[MemberForecast, ...]:
        return tuple(
            MemberForecast(
                member,
                horizon,
                *(
                    float(values[f"{member}{MEMBER_SEPARATOR}{name}"][0, column])
                    for name in MEMBER_VALUE_NAMES
                ),
            )
            for column, horizon in enumerate(self.manifest.horizons)
            for member in member_names(values)
        )

    def _unfit(self, grid: pl.DataFrame, now: datetime) -> Abstention | None:
        needed, step = self.manifest.bars_needed, interval_duration(self.manifest.interval)
        known_at, limit = grid["open_time"][-1] + step, STALE_INTERVALS * step
        if now - known_at > limit:
            return Abstention(
                "stale_data", f"the newest bar closed {now - known_at} before now; at most {limit} is allowed"
            )
        segment = grid.filter(pl.col("segment") == pl.col("segment").last())
        if segment.height < needed:
            if segment.height < grid.height:
                detail = f"{segment.height} bars since the last hole, {needed} needed"
                return Abstention("too_many_gaps", detail)
            return Abstention("too_few_bars", f"{segment.height} bars given, {needed} needed")
        bridged = int((segment["missing_run"].tail(needed) > 0).sum())
        if bridged > MAX_BRIDGED_SHARE * needed:
            return Abstention(
                "too_many_gaps", f"{bridged} of the last {needed} bars are missing ones, bridged"
            )
        return None

    def _absent_facts(self, window: MarketWindow) -> Abstention | None:
        absent = sorted(set(self.manifest.facts) - set(window.facts["name"].unique()))
        told = f"facts that the bundle requires are absent: {', '.join(absent)}"
        return Abstention("missing_facts", told) if absent else None

    def _unaccompanied(
        self, own: str, tails: Mapping[str, pl.DataFrame], unfit: Mapping[str, Abstention | None]
    ) -> Abstention | None:
        """Why features that compare symbols are not known; None where they are, or none is read."""
        compared = symbols_compared(self.manifest.features, self.manifest.symbols)
        if absent := [symbol for symbol in compared if symbol not in tails]:
            told = f"bars of {', '.join(absent)} are absent, with which {own} is compared"
            return Abstention("missing_facts", told)
        # From bars that do not end together some would be compared with what is not there yet.
        together = dict.fromkeys((own, *compared)) if compared else {}
        newest = {symbol: tails[symbol]["open_time"][-1] for symbol in together}
        for symbol, last in newest.items():
            if (other := unfit[symbol]) is not None:
                return Abstention(other.reason, f"{symbol}, with which {own} is compared: {other.detail}")
            if last < (needed := max(newest.values())):
                detail = f"the newest bar of {symbol} is of {last:%H:%M}, one of {needed:%H:%M} needed"
                return Abstention("stale_data", detail)
        return None

    def _unknown(self, tail: pl.DataFrame) -> str:
        newest = newest_features(tail, self.manifest.features, bars=self.manifest.lookback)
        null = [name for name in self.manifest.features if newest[name].has_nulls()]
        facts = ", ".join(sorted(facts_read(null)))
        told = f"; they read facts that are absent or too old: {facts}" if facts else ""
        return f"not known in the {newest.height} newest bars: {', '.join(null)}{told}"

    def _outside(self, share: float) -> Abstention | None:
        if share <= self.manifest.range_limit:
            return None
        limit = self.manifest.range_limit
        detail = f"{share:.1%} of the features lie outside the training range, at most {limit:.1%} may"
        return Abstention("outside_training_range", detail)


def _by_symbol(bars: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {own["symbol"][0]: own for own in bars.partition_by("symbol", maintain_order=True)}


def _standardised(found: Float32Array, golden: Float32Array) -> float:
    deviation = np.maximum(golden.std(axis=0), 1e-6)
    return float((np.abs(found - golden) / deviation).max())
