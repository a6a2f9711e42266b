"""Daily on-chain metrics of Coin Metrics' community API, version 4."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import Reading, WebSource, number, plausible

BASE_URL = "https://community-api.coinmetrics.io/v4"
# Ten questions in six seconds: https://docs.coinmetrics.io/access-our-data/api
REQUESTS_PER_SECOND = 10 / 6
METRICS = (
    "AdrActCnt",
    "TxCnt",
    "HashRate",
    "FeeTotUSD",
    "FeeTotNtv",
    "TxTfrValAdjUSD",
    "SplyCur",
    "CapMVRVCur",
)
# When the last metric of an asset's day was ready, in epoch seconds.
COMPLETION = "AssetEODCompletionTime"
STATUS_TIME = "-status-time"
# Where neither is offered: days are ready within hours; half a day is on the safe side.
PUBLICATION_DELAY = timedelta(hours=12)
PAGE_ROWS = 10_000
_PATH = "/timeseries/asset-metrics"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CoinMetricsSource(WebSource):
    """Metrics by day, under their own names, of one or more assets; what is not for the community is absent.

    Values may be revised without notice. A revision that carries a status time is known from then on;
    one that does not is told from the first version only by being fetched again.

    Parameters
    ----------
    symbols
        Canonical symbol by asset, such as ``{"btc": "BTCUSDT"}``.
    """

    symbols: Mapping[str, str]
    metrics: tuple[str, ...] = METRICS
    page_rows: int = PAGE_ROWS

    def _readings(self, start: datetime, end: datetime) -> Iterator[Reading]:
        for page in self._pages(start, end):
            for row in page["data"]:
                yield from day_readings(row, symbol=self.symbols[row["asset"]], metrics=self.metrics)

    def _pages(self, start: datetime, end: datetime) -> Iterator[Any]:
        params: dict[str, str | int] = {
            "assets": ",".join(self.symbols),
            "metrics": ",".join((*self.metrics, COMPLETION)),
            "frequency": "1d",
            "start_time": f"{start.astimezone(UTC):%Y-%m-%d}",
            "end_time": f"{end.astimezone(UTC):%Y-%m-%d}",
            "page_size": self.page_rows,
            "ignore_unsupported_errors": "true",
            "ignore_forbidden_errors": "true",
        }
        asked = []
        while params not in asked:
            asked.append(params)
            page = self.web.json(_PATH, params)
            yield page
            following = page.get("next_page_url")
            if following is None:
                return
            # Its parameters only: an answer does not decide which server is asked.
            params = dict(parse_qsl(urlsplit(following).query))
        raise SourceError(f"{self.name} gives page {len(asked)} again and again: try again later")


def day_readings(row: Mapping[str, Any], *, symbol: str, metrics: Iterable[str]) -> list[Reading]:
    """Readings of one day of one asset, from a row of the API or of one of its CSV files.

    Parameters
    ----------
    row
        ``time`` and metrics by name; one that is absent, null or empty is not known.

    Raises
    ------
    KeyError, TypeError, ValueError
        When the row is of another shape.
    """
    begins = _moment(row["time"])
    ends = begins + _DAY
    completed = number(row.get(COMPLETION))
    ready = ends + PUBLICATION_DELAY if completed is None else datetime.fromtimestamp(completed, UTC)
    values = {metric: number(row.get(metric)) for metric in metrics}
    return [
        Reading(metric, symbol, begins, ends, _published(row.get(metric + STATUS_TIME), ready), value)
        for metric, value in values.items()
        if value is not None
    ]


def _published(status_time: str | None, ready: datetime) -> datetime:
    """When this version was: a status that was set later than the day was ready may have changed it."""
    return plausible(max(ready, _moment(status_time)) if status_time else ready)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return plausible(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
