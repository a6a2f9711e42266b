"""The stream of a market that grows: closed bars go to the service as they come, until Ctrl-C.

`make up` starts it beside the servers. What is trained on is read over REST, by schedule.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing, suppress

from cryptoai_assets.defs.resources import MarketResource, configured_resource
from cryptoai_assets.lib.live_bars import cursors, keep_online
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_serving.bars import BarStore
from cryptoai_serving.errors import StoreUnavailableError


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, hand over, translate one error."""
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.stream", description=__doc__)
    parser.parse_args(arguments)
    market = configured_resource()
    if not market.settings.grows:
        parser.error(f"the market {market.name} ends with its data: nothing is streamed")
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(follow(market))
    except (SourceError, StoreUnavailableError) as error:
        sys.stderr.write(f"{error}\nBars go on coming over REST, by schedule.\n")
        return 1
    return 0


async def follow(market: MarketResource) -> None:
    """Stream from the newest bar that the service has.

    Raises
    ------
    SourceError
        When the venue's clock cannot be asked, or the venue has no such stream.
    """
    stream, since = market.stream(), market.now()
    with BarStore(market.home.bars_database) as store:
        first = cursors(store, market.settings, since)
        async with aclosing(stream.candles(first)) as bars:
            await keep_online(
                bars,
                store,
                market.home.stream_record,
                market=market.settings,
                since=since,
                last_failure=lambda: stream.last_failure,
            )


if __name__ == "__main__":
    sys.exit(main())
