"""What each release asset reads and writes."""

from pathlib import Path

from cryptoai_assets.defs.features.recipes import facts_files, feature_names
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.recipes import STRETCH_SCORES_NAME
from cryptoai_assets.lib.candidate import RECORD_NAME, Candidate
from cryptoai_assets.lib.planner import Recipe
from edge_bundle.releases import channel_path

DECISION_NAME = "decision.json"


def acknowledged_by(market: MarketResource) -> str | None:
    """Name of the person who answered for the candidate's alarm."""
    home = market.home
    if not (home.candidate / RECORD_NAME).is_file():
        return None
    candidate = Candidate.read(home.candidate)
    entry = home.ledger.acknowledged(candidate.model, candidate.version or 0)
    return entry.actor if entry else None


def gate_decision_recipe(market: MarketResource) -> Recipe:
    """Recipe of a decision: the candidate, its score, and who answered for its alarm."""
    home = market.home
    return Recipe(
        reads={
            "candidate": home.candidate / RECORD_NAME,
            "scores": home.candidate / STRETCH_SCORES_NAME,
            "backtest": home.backtest,
        },
        writes=(home.candidate / DECISION_NAME,),
        settings={"acknowledged_by": acknowledged_by(market)},
        code=("cryptoai_assets.lib.gate", "cryptoai_assets.lib.canaries", "cryptoai_assets.lib.candidate"),
    )


def released_bundle_recipe(market: MarketResource) -> Recipe:
    """Recipe of a release; a refused first version releases nothing, so the channel may be absent."""
    home = market.home
    channel = channel_path(home.releases, market.settings.model)
    return Recipe(
        reads={"decision": home.candidate / DECISION_NAME},
        writes=(channel,) if channel.is_file() else (),
        settings={},
        code=("cryptoai_assets.lib.releases",),
    )


def online_bars_recipe(market: MarketResource) -> Recipe:
    """Recipe of the online store: the newest clean candles, and the facts that features read."""
    stores, symbols, place = market.stores, market.settings.symbols, market.home.bars_database
    return Recipe(
        reads=stores.clean_candles.files(symbols)
        | stores.clean_facts.files(symbols)
        | facts_files(market, feature_names(market)),
        writes=(place,) if isinstance(place, Path) else (),
        settings={"market": market.settings.name},
        code=(
            "cryptoai_serving.bars",
            "cryptoai_serving.bar_shelf",
            "cryptoai_serving.sqlite_shelf",
            "cryptoai_serving.redis_shelf",
            "cryptoai_serving.database",
        ),
    )


RECIPES = {
    "gate_decision": gate_decision_recipe,
    "released_bundle": released_bundle_recipe,
    "online_bars": online_bars_recipe,
}
