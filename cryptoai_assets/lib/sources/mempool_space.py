"""Daily fees, hash rate and difficulty of bitcoin, from mempool.space or a node's own copy of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptoai_assets.lib.sources.fact_source import Reading, WebSource, number, plausible

BASE_URL = "https://mempool.space/api"
# Its limits are not published, and whoever passes them often is banned: https://mempool.space/docs/api/rest
REQUESTS_PER_SECOND = 0.2
BLOCK_FEES, HASH_RATE, DIFFICULTY = "block_fees_satoshi", "hash_rate_per_second", "difficulty"
# A block's own time may run two hours ahead of the network: https://en.bitcoin.it/wiki/Block_timestamp
PUBLICATION_DELAY = timedelta(hours=2)
# Shorter periods than all of history come in other buckets than days.
_FEES_PATH, _HASH_RATE_PATH = "/v1/mining/blocks/fees/all", "/v1/mining/hashrate/all"
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class MempoolSpaceSource(WebSource):
    """Mean fees of a day's blocks, a day's hash rate, and each new difficulty.

    Parameters
    ----------
    symbol
        Of which they are facts, such as the market's bitcoin; None for the whole market.
    """

    symbol: str | None

    def _readings(self, _start: datetime, _end: datetime) -> Iterator[Reading]:
        yield from _fees(self.web.json(_FEES_PATH, {}), self.symbol)
        yield from _mining(self.web.json(_HASH_RATE_PATH, {}), self.symbol)


def _fees(rows: Any, symbol: str | None) -> Iterator[Reading]:
    """Fees by UTC day; a row's time is the mean over the blocks of its day.

    Source: ``$getHistoricalBlockFees`` in mempool's backend/src/repositories/BlocksRepository.ts.
    """
    for row in rows:
        yield from _of_day(BLOCK_FEES, symbol, int(row["timestamp"]) // _DAY, row["avgFees"])


def _mining(answer: Any, symbol: str | None) -> Iterator[Reading]:
    """Hash rate by UTC day, a row's time being the midnight that ends the day; difficulty by block.

    Source: ``$generateNetworkHashrateHistory`` in mempool's backend/src/api/mining/mining.ts.
    """
    for row in answer["hashrates"]:
        yield from _of_day(HASH_RATE, symbol, (int(row["timestamp"]) - 1) // _DAY, row["avgHashrate"])
    for row in answer["difficulty"]:
        mined, value = _moment(int(row["time"])), number(row["difficulty"])
        if value is not None:
            yield Reading(DIFFICULTY, symbol, mined, mined, mined + PUBLICATION_DELAY, value)


def _of_day(name: str, symbol: str | None, day: int, raw: object) -> Iterator[Reading]:
    begins, ends = _moment(day * _DAY), _moment((day + 1) * _DAY)
    value = number(raw)
    if value is not None:
        yield Reading(name, symbol, begins, ends, ends + PUBLICATION_DELAY, value)


def _moment(seconds: int) -> datetime:
    return plausible(datetime.fromtimestamp(seconds, UTC))
