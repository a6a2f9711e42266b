"""What a day of microstructure bars reads and writes."""

from datetime import timedelta

from cryptoai_assets.defs.orderbook.partitions import symbol_and_day
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.planner import Recipe


def microstructure_bars_recipe(market: MarketResource, partition_key: str) -> Recipe:
    """Recipe of a day's bars: its recording, and the one of the day before."""
    symbol, day = symbol_and_day(partition_key)
    home = market.home
    days = (day - timedelta(days=1), day)
    return Recipe(
        reads={f"recordings/{symbol}/{one}": home.recordings.path(symbol, one) for one in days},
        writes=(home.microstructure.path(symbol, day),),
        settings={"interval": market.settings.interval, "venue": market.settings.venue},
        code=("cryptoai_assets.lib.orderbook",),
    )


RECIPES = {"microstructure_bars": microstructure_bars_recipe}
