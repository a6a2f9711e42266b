"""The crypto Fear & Greed index of alternative.me, one number a day."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import Reading, WebSource, number, plausible

BASE_URL = "https://api.alternative.me"
# Sixty a minute: https://alternative.me/crypto/api/
REQUESTS_PER_SECOND = 1.0
FEAR_AND_GREED = "fear_and_greed"
# The index of a day is shown from its first minutes on (the answer says how long until the next one), so it
# describes the time before; an hour is on the safe side.
PUBLICATION_DELAY = timedelta(hours=1)
_HIGHEST = 100
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FearGreedSource(WebSource):
    """From 0, extreme fear, to 100, extreme greed; of the whole market, some days not at all."""

    def _readings(self, start: datetime, _end: datetime) -> Iterator[Reading]:
        # Newest first; 0 would be all.
        days = max(math.ceil((self.witness.clock() - start) / _DAY) + 1, 1)
        answer = self.web.json("/fng/", {"limit": days, "format": "json"})
        told = answer["metadata"]["error"]
        if told is not None:
            raise SourceError(f"{self.name} does not answer ({str(told)[:120]}): try again later")
        for row in answer["data"]:
            shown, value = plausible(datetime.fromtimestamp(int(row["timestamp"]), UTC)), number(row["value"])
            if value is None:
                continue
            if not 0 <= value <= _HIGHEST:
                raise ValueError(f"index {value:g}, from 0 to {_HIGHEST} allowed")
            yield Reading(FEAR_AND_GREED, None, shown, shown, shown + PUBLICATION_DELAY, value)
