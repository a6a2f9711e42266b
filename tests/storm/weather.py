"""A storm: ingestion under every fault of the sandbox, killed again and again, beside one in calm weather."""

import multiprocessing
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from fakes.loopback_app import serving
from storm.ingestion import MARKET, OVERLAP_BARS, SOURCE_FAILED, CutWrite, Death, run, stores_in

from cryptoai_assets.lib.market_data import REFILLED, known_candles
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.binance import binance_app
from cryptoai_assets.sandbox.faults import ANSWER_FAULTS, BAR_FAULTS, Fault, FaultPlan, Faults
from cryptoai_assets.sandbox.market import SandboxMarket
from edge_bundle.candles import candle_frame

START, END = datetime(2018, 9, 30, tzinfo=UTC), datetime(2018, 10, 6, tzinfo=UTC)
TICK = timedelta(hours=12)
TICKS = [START + number * TICK for number in range(1, (END - START) // TICK + 1)]
# After the end: once for each wrong look at a bar, and as often as a gap is asked for.
SETTLING = [END + hours * timedelta(hours=1) for hours in range(1, 6)]
A_MONTH_OF_BARS = timedelta(days=31) // MARKET.bar
MOST_TRIES = 30
SHARES = {
    Fault.LATENCY: 0.05,
    **dict.fromkeys(ANSWER_FAULTS, 0.03),
    Fault.HALF_OPEN: 0.01,
    **dict.fromkeys(BAR_FAULTS, 0.01),
    Fault.LATE_BAR: 0.3,
}
_PROCESSES = multiprocessing.get_context("forkserver")


class StormError(Exception):
    """A run did not come to its end although the venue answers often enough."""


@dataclass
class Weather:
    """The venue, its time, and what befell those who asked it.

    Parameters
    ----------
    plan
        Faults of the venue.
    held
        Candles that were stored at each time.
    """

    plan: FaultPlan
    moment: datetime = START
    ends: Counter[int] = field(default_factory=Counter)
    held: dict[datetime, pl.DataFrame] = field(default_factory=dict)

    @contextmanager
    def venue(self) -> Iterator[str]:
        """Serve the market, whose time is `moment`."""
        market = SandboxMarket(
            candle_frame(pl.read_parquet(sample_file())),
            seed=self.plan.seed,
            start=START,
            speed=1.0,
            clock=lambda: self.moment,
        )
        with serving(Faults(binance_app(market), self.plan)) as server:
            yield server.http

    def ingest(self, root: Path, address: str, overlap_bars: int) -> None:
        """Run until one run comes to its end."""
        for _ in range(MOST_TRIES):
            if self._end_of_run(root, address, overlap_bars) == 0:
                return
        raise StormError(f"no run of {MOST_TRIES} came to its end at {self.moment}: {dict(self.ends)}")

    def kill(self, root: Path, address: str, chance: random.Random) -> None:
        """Run until one run is killed while it is at work: by the clock, anywhere, or between two files."""

        def drawn() -> tuple[Death | None, float | None]:
            death = chance.choice(
                (
                    None,
                    Death(int(10 ** chance.uniform(0, 3.5)), None),
                    Death(chance.randint(1, 12), "os.rename"),
                )
            )
            return death, None if death else chance.uniform(0, 0.5)

        self._end(root, address, drawn, -signal.SIGKILL)

    def cut(self, root: Path, address: str, chance: random.Random) -> None:
        """Run until one run is ended inside a write: of any of its files, after any of its bytes."""

        def drawn() -> tuple[CutWrite, None]:
            return CutWrite(chance.randint(0, 11), int(10 ** chance.uniform(0, 4.5))), None

        self._end(root, address, drawn, -signal.SIGXFSZ)

    def _end(
        self,
        root: Path,
        address: str,
        drawn: Callable[[], tuple[Death | CutWrite | None, float | None]],
        wanted: int,
    ) -> None:
        for _ in range(MOST_TRIES):
            if self._end_of_run(root, address, OVERLAP_BARS, *drawn()) == wanted:
                return
        raise StormError(f"no run of {MOST_TRIES} could be ended at {self.moment}: {dict(self.ends)}")

    def _end_of_run(
        self,
        root: Path,
        address: str,
        overlap_bars: int,
        death: Death | CutWrite | None = None,
        seconds: float | None = None,
    ) -> int:
        process = _PROCESSES.Process(target=run, args=(root, address, self.moment, overlap_bars, death))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        end = int(process.exitcode or 0)
        process.close()
        if end not in (0, SOURCE_FAILED, -signal.SIGKILL, -signal.SIGXFSZ):
            raise StormError(f"a run ended with {end} at {self.moment}")
        self.ends[end] += 1
        return end

    @property
    def killed(self) -> int:
        """Runs that were killed at work."""
        return self.ends[-signal.SIGKILL]

    @property
    def cut_off(self) -> int:
        """Runs that ended inside a write."""
        return self.ends[-signal.SIGXFSZ]

    @property
    def told(self) -> datetime:
        """What a run takes for the present: the venue's clock, or ours where that is earlier."""
        return self.moment + min(timedelta(0), timedelta(milliseconds=self.plan.skew_ms))


def stormy(seed: int) -> FaultPlan:
    """Every fault that candles can meet."""
    chance = random.Random(seed)
    return FaultPlan(
        seed,
        SHARES,
        latency_seconds=0.05,
        skew_ms=chance.randint(-90_000, 90_000),
        looks=chance.randint(2, 3),  # one question looks twice
    )


def weathered(root: Path, weather: Weather, *, kills: int) -> Weather:
    """Ingest six days, tick by tick, with so many kills at random moments, and as many ends inside a write.

    Then look at all of it again.
    """
    _PROCESSES.set_forkserver_preload(["storm.ingestion"])
    chance = random.Random(weather.plan.seed)
    planned, cuts = (Counter(chance.choices(TICKS, k=kills)) for _ in range(2))
    with weather.venue() as address:
        for tick in TICKS:
            weather.moment = tick
            for _ in range(planned[tick]):
                weather.kill(root, address, chance)
            for _ in range(cuts[tick]):
                weather.cut(root, address, chance)
            weather.ingest(root, address, OVERLAP_BARS)
            weather.held[weather.told] = known(root, None)
        for moment in SETTLING:
            weather.moment = moment
            weather.ingest(root, address, A_MONTH_OF_BARS)
    return weather


@dataclass(frozen=True)
class Tables:
    """What is to be equal in the end, whatever the weather was.

    Parameters
    ----------
    candles
        As they are known now, sorted by symbol and time.
    since
        ``symbol``, ``open_time``, and when the bar became known.
    gaps
        Gaps that are left, by all that is told of them but ``tries`` and ``known_at``.
    """

    candles: pl.DataFrame
    since: pl.DataFrame
    gaps: pl.DataFrame


def known(root: Path, known_by: datetime | None) -> pl.DataFrame:
    """Candles as they were known at a time, sorted by symbol and time."""
    stores, _ = stores_in(root)
    candles, facts = (store.read(MARKET.symbols) for store in (stores.clean_candles, stores.clean_facts))
    found = known_candles(candles, facts, interval=MARKET.interval, known_by=known_by)
    return found.sort("symbol", "open_time")


def tables_of(root: Path) -> Tables:
    """Tables of one store."""
    stores, gaps = stores_in(root)
    facts = stores.clean_facts.read(MARKET.symbols)
    late = facts.filter(pl.col("name") == REFILLED).group_by("symbol", open_time="event_time")
    candles = known(root, None)
    since = candles.select("symbol", "open_time").join(
        late.agg(pl.col("known_at").min()), on=["symbol", "open_time"], how="left", maintain_order="left"
    )
    current = gaps.current(MARKET.symbols, interval=MARKET.interval)
    left = current.filter(~pl.col("state").is_in(["refilled", "from_another_venue"]))
    return Tables(
        candles,
        since.with_columns(pl.col("known_at").fill_null(pl.col("open_time") + MARKET.bar)),
        left.drop("tries", "known_at"),
    )
