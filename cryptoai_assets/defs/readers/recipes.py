"""What the assets of the chart and candlestick networks read and write."""

from pathlib import Path

from cryptoai_assets.defs.charts.recipes import set_path
from cryptoai_assets.defs.readers.config import ReaderConfig
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.candle_patterns.plan import CANDLE_MODEL
from cryptoai_assets.lib.charts.plan import PATTERN_MODEL
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.planner import Recipe
from cryptoai_assets.lib.reader_candidates import RECORD_NAME
from edge_bundle.releases import channel_path

CHART_CODE = ("cryptoai_assets.lib.charts", "edge_bundle.chart_turns", "edge_bundle.detector")
CANDLE_CODE = ("cryptoai_assets.lib.candle_patterns", "edge_bundle.candle_reader")


def reader_folder(home: Home, model: str) -> Path:
    """Folder of a reader's newest bundle and its record."""
    return home.data / "readers" / model


def _trained(market: MarketResource, model: str, code: tuple[str, ...]) -> Recipe:
    home, stores, symbols = market.home, market.stores, market.settings.symbols
    return Recipe(
        reads={"images": set_path(home)} | stores.clean_candles.files(symbols),
        writes=(reader_folder(home, model) / RECORD_NAME,),
        settings={"origin": ReaderConfig().origin(enough=True), "symbols": symbols},
        code=code,
    )


def _released(market: MarketResource, model: str) -> Recipe:
    channel = channel_path(market.home.releases, model)
    return Recipe(
        reads={"candidate": reader_folder(market.home, model) / RECORD_NAME},
        writes=(channel,) if channel.is_file() else (),
        settings={},
        code=("cryptoai_assets.lib.gate", "cryptoai_assets.lib.releases"),
    )


def trained_chart_vit_recipe(market: MarketResource) -> Recipe:
    """Recipe of the chart network: the images, the candles, and where it comes from."""
    return _trained(market, PATTERN_MODEL, CHART_CODE)


def released_chart_vit_recipe(market: MarketResource) -> Recipe:
    """Recipe of its release; a refused first version releases nothing."""
    return _released(market, PATTERN_MODEL)


def trained_candle_cnn_recipe(market: MarketResource) -> Recipe:
    """Recipe of the candlestick network."""
    return _trained(market, CANDLE_MODEL, CANDLE_CODE)


def released_candle_cnn_recipe(market: MarketResource) -> Recipe:
    """Recipe of its release."""
    return _released(market, CANDLE_MODEL)


RECIPES = {
    "trained_chart_vit": trained_chart_vit_recipe,
    "released_chart_vit": released_chart_vit_recipe,
    "trained_candle_cnn": trained_candle_cnn_recipe,
    "released_candle_cnn": released_candle_cnn_recipe,
}
