"""The loop on real minutes: detect, retrain, gate, promote, against never retraining and retraining daily."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from cryptoai_assets.evaluate.loop_market import DAY, ROOM, LoopPlan, ReplayedMarket
from cryptoai_assets.evaluate.loop_scores import daily_table, figure, loop_rows, report, scored_rows
from cryptoai_assets.evaluate.loop_strategies import Morning, Strategy, answered, every_strategy
from cryptoai_assets.evaluate.loop_versions import Versions, training_mark
from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.lib.figures import png_bytes
from cryptoai_assets.lib.fingerprints import code_fingerprint, file_fingerprint, settings_fingerprint
from cryptoai_assets.lib.releases import write_json
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically

# Code whose change makes kept days those of something else.
_CODE = (
    __name__,
    "cryptoai_assets.evaluate.loop_market",
    "cryptoai_assets.evaluate.loop_strategies",
    "cryptoai_assets.evaluate.loop_versions",
    "cryptoai_assets.lib.gate",
    "cryptoai_assets.lib.hourly_watch",
    "cryptoai_assets.lib.models",
    "cryptoai_assets.lib.scoring",
    "cryptoai_assets.lib.splits",
    "cryptoai_assets.lib.targets",
    "cryptoai_assets.lib.watch",
    *(
        f"cryptoai_monitoring.{name}"
        for name in ("drift", "hourly", "live_score", "relation", "thresholds", "verdict")
    ),
    "edge_bundle.candles",
    "edge_bundle.features",
)


@dataclass(frozen=True, slots=True)
class Replay:
    """Days that were replayed, in order.

    Parameters
    ----------
    mornings
        By strategy, one a day.
    served
        By strategy ``open_time``, ``champion``, ``probability_up``.
    """

    mornings: dict[str, list[Morning]]
    served: dict[str, pl.DataFrame]


@dataclass(frozen=True, slots=True)
class LoopStudy:
    """A replay as far as its days are finished; each is kept, so that a kill loses at most one.

    Parameters
    ----------
    root
        Where days and versions are kept; another market, plan or code has other folders.
    source
        Fingerprint of what the market was read from.
    """

    market: ReplayedMarket
    root: Path
    source: str

    @classmethod
    def read(cls, archive: Path, plan: LoopPlan, root: Path) -> "LoopStudy":
        """Read a market from a file of minutes.

        Raises
        ------
        LoopError
            When the file does not hold the minutes of the plan's months.
        SourceError
            When it is absent, or does not hold the symbol.
        """
        return cls(ReplayedMarket.read(archive, plan), root, file_fingerprint(archive))

    @property
    def folder(self) -> Path:
        """Where the days lie."""
        mark = {"plan": asdict(self.market.plan), "source": self.source, "code": code_fingerprint(*_CODE)}
        return self.root / f"{ROOM}-{settings_fingerprint(mark)[:12]}"

    @property
    def versions(self) -> Versions:
        """Trainings, which outlive a change of the watch."""
        mark = training_mark(self.market.plan) | {"source": self.source}
        return Versions(self.market, self.root / f"{ROOM}-versions-{settings_fingerprint(mark)[:12]}")

    def rows(self, tell: Callable[[str], None], *, results: Path, commit: str) -> Iterator[EvaluationRow]:
        """Finish the days, then score them all; table, days and picture are written to `results`."""
        plan = self.market.plan
        replay = self.replayed(tell)
        scored = scored_rows(self.market, replay.served)
        rows = loop_rows(scored, replay.mornings, plan)
        results.mkdir(parents=True, exist_ok=True)
        place = results / f"{ROOM}-{plan.market.name}"
        place.with_suffix(".md").write_text(report(rows, scored, replay.mornings, plan, commit=commit))
        place.with_suffix(".png").write_bytes(png_bytes(figure(scored, replay.mornings, plan)))
        daily_table(scored).write_csv(place.with_suffix(".csv"), float_precision=5)
        yield from rows

    def replayed(self, tell: Callable[[str], None]) -> Replay:
        """Replay each strategy day by day, from where an earlier call stopped."""
        done = {strategy.name: self._replayed(strategy, tell) for strategy in every_strategy(self.versions)}
        return Replay(
            {name: mornings for name, (mornings, _) in done.items()},
            {name: served for name, (_, served) in done.items()},
        )

    def _replayed(
        self, strategy: Strategy, tell: Callable[[str], None]
    ) -> tuple[list[Morning], pl.DataFrame]:
        mornings: list[Morning] = []
        served: list[pl.DataFrame] = []
        for number, now in enumerate(self.market.plan.midnights, start=1):
            place = self.folder / strategy.name.replace(",", "").replace(" ", "-") / f"{now:%Y-%m-%d}"
            answers, record = place.with_suffix(".parquet"), place.with_suffix(".json")
            if not record.is_file():
                morning = strategy.morning(now, mornings, pl.concat(served) if served else pl.DataFrame())
                version = self.versions.named(morning.champion)
                said = answered(version, self.market, now, now + DAY, silent=morning.silent)
                write_parquet_atomically(said, answers)
                write_json(record, morning.to_json())  # last: it marks the day as finished
            mornings.append(Morning.from_json(json.loads(record.read_bytes())))
            served.append(read_stored_parquet(answers))
            tell(_line(strategy.name, number, mornings[-1], self.market.plan))
        return mornings, pl.concat(served)


def _line(name: str, number: int, morning: Morning, plan: LoopPlan) -> str:
    day = f"{name}, {morning.at:%Y-%m-%d}, day {number} of {plan.live_days}"
    return f"{day}: {morning.reason}" if morning.verdict and morning.trained else day
