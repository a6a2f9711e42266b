"""Market settings: which candles are read and how far ahead is forecast, in one typed place."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from cryptoai_assets.lib.backtest import Costs
from cryptoai_assets.lib.quality import Plausibility
from edge_bundle.candles import interval_duration
from edge_bundle.errors import CandlesRefusedError
from edge_bundle.features.microstructure import FACTS, PREFIX

# A taker's fee at a venue's lowest level, and a narrow book; an account of one's own has other numbers.
TAKER = Costs(fee_bps=20.0, spread_bps=4.0, slippage_bps=1.0)
Clock = Literal["data", "wall", "venue"]
# What a model may read besides the catalog of its own symbol's candles; each is a family of features.
Beyond = Literal["context", "outside", "microstructure", "chart_patterns"]
BEYOND: tuple[Beyond, ...] = get_args(Beyond)
# The one that is made of those candles all the same.
CHARTS: Beyond = "chart_patterns"


class MarketError(Exception):
    """A market cannot be had.

    ::

        MarketError
        ├── UnknownMarketError      no preset, no file and no family of features has the name
        └── MarketFileError         the file cannot be read as a market
    """


class UnknownMarketError(MarketError):
    """No preset, or no family of features, has the name that was asked for."""


class MarketFileError(MarketError):
    """A file says of a market what cannot be."""


@dataclass(frozen=True, slots=True)
class Market:
    """A market that the platform forecasts.

    Parameters
    ----------
    source
        Of candles: the embedded ``sample``, an ``archive`` of one's own, an ``exchange``, what one's own
        ``device`` sends, or the ``sandbox``.
    second_venue
        Asked for bars that the venue does not give, try after try; None is nobody.
    horizons
        In bars.
    lookback
        The most bars that a model may read, at least as many as those that `models` names do. Only bars with
        as many behind them are trained on and scored, so that all models are compared on the same rows. Trees
        read one.
    max_missing_bars
        Missing bars in a row that are bridged; a longer hole splits the series.
    max_rejected_share
        Of the rows of a run; when quality rules reject more, what is downstream stops.
    costs
        Of trading there, for the backtest.
    max_missing_share
        Of the bars due in a month; more missing ones are told as a failure.
    plausibility
        How far a bar may lie from the bars before it.
    clock
        What "now" is: the end of the ``data``, the ``wall`` clock, or the clock of the ``venue``.
    history_start, history_end
        First day, and the day after the last one; an open end is today.
    beyond
        Families of features that read more than the candles of their own symbol, and are trained on all the
        same: its champion then needs all symbols at once, or facts, which a device does not have.
    models
        Kinds of model that are trained, by name, in place of those that a training's size says.
    greatest_ages
        Facts that features may read, each with the age of its event at which it no longer counts; in days in
        a file's table of this name.
    """

    name: str
    source: str
    venue: str
    second_venue: str | None
    quote: str
    symbols: tuple[str, ...]
    interval: str
    horizons: tuple[int, ...]
    lookback: int
    max_missing_bars: int
    max_rejected_share: float
    costs: Costs
    max_missing_share: float
    plausibility: Plausibility
    clock: Clock
    history_start: date
    history_end: date | None
    beyond: tuple[Beyond, ...]
    models: tuple[str, ...]
    greatest_ages: tuple[tuple[str, timedelta], ...]

    @property
    def greatest_age(self) -> dict[str, timedelta]:
        """Greatest age by fact."""
        return dict(self.greatest_ages)

    @property
    def for_devices(self) -> bool:
        """Whether its champion must make do with the candles of one symbol."""
        return not set(self.beyond) - {CHARTS}

    @property
    def live(self) -> bool:
        """Whether now is now: bars grow stale by the wall clock."""
        return self.clock == "wall"

    @property
    def grows(self) -> bool:
        """Whether new bars keep arriving."""
        return self.clock != "data"

    def base(self, symbol: str) -> str:
        """Coin that a symbol trades."""
        return symbol.removesuffix(self.quote)

    @property
    def model(self) -> str:
        """Name under which this market's forecaster is registered and released."""
        return f"cryptoai-forecaster-{self.name}"

    @property
    def bar(self) -> timedelta:
        """Length of a bar."""
        return interval_duration(self.interval)

    @property
    def bars_a_day(self) -> int:
        """Bars in 24 hours, at least one."""
        return max(1, timedelta(days=1) // self.bar)


# A price as far off as twenty times the wildest minute of 2018, a volume as quote volume would have it.
_PLAUSIBLE = Plausibility(
    bars=20, typical_moves=200.0, least_move=0.001, volume_factor=150.0, second_venue_move=0.05
)
# Ten hours of minutes, as 20 bars of half an hour are: a dead half-hour must not become what is usual.
_PLAUSIBLE_MINUTES = replace(_PLAUSIBLE, bars=600)
_DAY = timedelta(days=1)
# Twice a series' usual wait for its next value, holidays included. A symbol's own facts are of every symbol:
# a row of features is complete only when all of them are.
GREATEST_AGES = (
    # Days of Coin Metrics; hash rates and fees in dollars are not offered for every coin.
    *((name, 4 * _DAY) for name in ("AdrActCnt", "TxCnt", "FeeTotNtv", "SplyCur", "CapMVRVCur")),
    *((name, 4 * _DAY) for name in ("block_fees_satoshi", "hash_rate_per_second")),
    ("difficulty", 30 * _DAY),
    ("fear_and_greed", 4 * _DAY),
    *((name, 8 * _DAY) for name in ("VIXCLS", "SP500", "vix", "sp500", "dollar_index")),
    ("DTWEXBGS", 16 * _DAY),
    ("search_interest_bitcoin", 75 * _DAY),
)


def _book_ages(bar: timedelta) -> tuple[tuple[str, timedelta], ...]:
    """Greatest ages of what a book and its trades gave in one bar: that bar."""
    return tuple((PREFIX + name, bar) for name in FACTS)


_SAMPLE = Market(
    name="sample",
    source="sample",
    venue="Bitfinex",
    second_venue=None,
    quote="USD",
    symbols=("BTCUSD", "EOSUSD", "ETHUSD", "LTCUSD", "XRPUSD"),
    interval="30m",
    horizons=(1, 2, 6),
    lookback=1,
    max_missing_bars=3,
    max_rejected_share=0.0,
    costs=TAKER,
    max_missing_share=0.01,
    plausibility=_PLAUSIBLE,
    clock="data",
    history_start=date(2017, 10, 1),
    history_end=date(2019, 10, 1),
    beyond=(),
    models=(),
    greatest_ages=(),
)
_LIVE = replace(
    _SAMPLE,
    name="live",
    source="exchange",
    venue="Binance.US",
    second_venue="Coinbase",
    quote="USDT",
    symbols=("BTCUSDT", "ETHUSDT"),
    interval="1m",
    horizons=(5, 10, 30),
    max_rejected_share=0.01,
    plausibility=_PLAUSIBLE_MINUTES,
    clock="wall",
    history_start=date(2026, 1, 1),
    history_end=None,
    greatest_ages=(*GREATEST_AGES, *_book_ages(timedelta(minutes=1))),
)
# The sample's candles again, their minutes drawn by seed: a venue to try the live mode on.
_SANDBOX = replace(
    _LIVE,
    name="sandbox",
    source="sandbox",
    second_venue=None,
    clock="venue",
    history_start=date(2019, 7, 1),
    history_end=date(2019, 10, 1),
)
PRESETS = MappingProxyType({market.name: market for market in (_SAMPLE, _LIVE, _SANDBOX)})


def market_preset(name: str) -> Market:
    """Settings of a market by name.

    Raises
    ------
    UnknownMarketError
        When there is no such preset; the known ones are listed.
    """
    if name not in PRESETS:
        raise UnknownMarketError(f"market {name!r} is not known; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def market_of(name: str, folder: Path) -> Market:
    """Settings of a market by name: a preset, or ``<name>.toml`` in a folder.

    The file names the ``preset`` that it starts from, ``live`` when it does not, and every setting that is
    another one than there, under its own name.

    Raises
    ------
    UnknownMarketError
        When there is neither, or no family of features of a name that the file gives.
    MarketFileError
        When the file is no TOML, or says what is no setting of a market, or bars do not divide a day.
    """
    file = folder / f"{name}.toml"
    if name in PRESETS or not file.is_file():
        return market_preset(name)
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MarketFileError(f"{file} is no TOML: {error}") from error
    base = market_preset(said.pop("preset", "live"))
    market = replace(base, name=name, **_settings(base, said, file))
    _require_bars_of_a_day(market, file)
    return beyond_candles(market, market.beyond)


def _require_bars_of_a_day(market: Market, file: Path) -> None:
    """Otherwise months and days would begin inside of a bar."""
    try:
        divided = _DAY % market.bar == timedelta()
    except CandlesRefusedError as error:
        raise MarketFileError(f"{file}: {error}") from error
    if not divided:
        raise MarketFileError(f"{file}: bars of {market.interval} do not divide a day; 5m, 1h and 1d do")


def _settings(base: Any, said: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What a file says in place of `base`, in the types of its fields."""
    known = [one.name for one in fields(base) if one.name != "name"]
    if unknown := [key for key in said if key not in known]:
        raise MarketFileError(f"{file}: {', '.join(unknown)} is no setting; these are: {', '.join(known)}")
    found: dict[str, Any] = {}
    for key, value in said.items():
        held = getattr(base, key)
        if key == "greatest_ages" and isinstance(value, dict):
            value = tuple((fact, timedelta(days=days)) for fact, days in value.items())
        elif isinstance(held, Plausibility | Costs) and isinstance(value, dict):
            value = replace(held, **_settings(held, value, file))
        elif isinstance(held, tuple) and isinstance(value, list):
            value = tuple(value)
        elif isinstance(held, float) and isinstance(value, int):
            value = float(value)
        if held is not None and not isinstance(value, type(held)):
            raise MarketFileError(f"{file}: {key} is {value!r}, something like {held!r} is wanted")
        found[key] = value
    return found


def beyond_candles(market: Market, families: Iterable[str]) -> Market:
    """The market with families of features that read more than the candles of one symbol.

    Raises
    ------
    UnknownMarketError
        When there is no such family; the known ones are listed.
    """
    asked = set(families)
    if unknown := asked - set(BEYOND):
        raise UnknownMarketError(f"families {sorted(unknown)} are not known; choose of {', '.join(BEYOND)}")
    return replace(market, beyond=tuple(family for family in BEYOND if family in asked)) if asked else market


def month_start(month: str) -> datetime:
    """First instant of a month that is written ``YYYY-MM`` or ``YYYY-MM-DD``, in UTC."""
    return datetime.strptime(month[:7], "%Y-%m").replace(tzinfo=UTC)


def month_after(month: str, months: int = 1) -> str:
    """Month that lies `months` later (earlier when negative), as ``YYYY-MM``."""
    start = month_start(month)
    index = start.year * 12 + start.month - 1 + months
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def month_window(market: Market, month: str, now: datetime) -> tuple[datetime, datetime]:
    """Start and end of the part of a month that the market has, bars that have not closed left out.

    The end is not before the start: a month that has not begun, or lies outside the history, is empty.
    """
    first = datetime.combine(market.history_start, time(), tzinfo=UTC)
    start = max(month_start(month), first)
    ends = [month_start(month_after(month)), now - (now - first) % market.bar]
    if market.history_end is not None:
        ends.append(datetime.combine(market.history_end, time(), tzinfo=UTC))
    return start, max(start, min(ends))


def months_of(market: Market, today: date) -> list[str]:
    """Months from the market's first to its last day, as ``YYYY-MM``."""
    end = market.history_end or today + timedelta(days=1)
    last = (end - timedelta(days=1)).strftime("%Y-%m")
    month, months = market.history_start.strftime("%Y-%m"), []
    while month <= last:
        months.append(month)
        month = month_after(month)
    return months
