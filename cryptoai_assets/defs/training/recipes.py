"""What each training asset reads and writes; the settings are those of a small training."""

from dataclasses import asdict

from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.config import TrainingConfig
from cryptoai_assets.lib.candidate import RECORD_NAME
from cryptoai_assets.lib.model_card import CARD_NAME
from cryptoai_assets.lib.planner import Recipe
from edge_bundle.features.catalog import fingerprint

SCORES_NAME = "scores.parquet"
PREDICTIONS_NAME = "predictions.parquet"
STRETCH_SCORES_NAME = "stretch_scores.parquet"
STRETCH_PREDICTIONS_NAME = "stretch_predictions.parquet"
STRETCH_BASELINES_NAME = "stretch_baselines.parquet"
_FITTING = (
    "cryptoai_assets.lib.models",
    "cryptoai_assets.lib.training",
    "cryptoai_assets.lib.splits",
    "cryptoai_assets.lib.datasets",
    "edge_bundle.windows",
)


def training_dataset_recipe(market: MarketResource) -> Recipe:
    """Recipe of the dataset: all stored features and candles."""
    home, symbols = market.home, market.settings.symbols
    reads = (
        home.features.files(symbols)
        | home.stores.clean_candles.files(symbols)
        | home.stores.clean_facts.files(symbols)
    )
    return Recipe(
        reads=reads,
        writes=(home.training_dataset,),
        settings={"horizons": market.settings.horizons, "features": fingerprint(feature_names(market))},
        code=("cryptoai_assets.lib.targets", "cryptoai_assets.lib.monthly_features"),
    )


def model_settings_recipe(market: MarketResource, config: TrainingConfig) -> Recipe:
    """Recipe of the search."""
    home = market.home
    return Recipe(
        reads={"training_dataset": home.training_dataset},
        writes=(home.model_settings,),
        settings=_settings(market, config),
        code=("cryptoai_assets.lib.search", *_FITTING),
    )


def walk_forward_scores_recipe(market: MarketResource, config: TrainingConfig) -> Recipe:
    """Recipe of the procedure's scores."""
    home = market.home
    return Recipe(
        reads={"training_dataset": home.training_dataset, "model_settings": home.model_settings},
        writes=(home.procedure / SCORES_NAME, home.procedure / PREDICTIONS_NAME),
        settings=_settings(market, config),
        code=("cryptoai_assets.lib.walk_forward", "cryptoai_assets.lib.scoring", *_FITTING),
    )


def trained_forecaster_recipe(market: MarketResource, config: TrainingConfig) -> Recipe:
    """Recipe of a registered version."""
    home = market.home
    return Recipe(
        reads={
            "training_dataset": home.training_dataset,
            "model_settings": home.model_settings,
            "scores": home.procedure / SCORES_NAME,
        },
        writes=(home.candidate / RECORD_NAME,),
        settings=_settings(market, config),
        code=("cryptoai_assets.lib.export", "edge_bundle.forecaster", "edge_bundle.manifest", *_FITTING),
    )


def version_scores_recipe(market: MarketResource) -> Recipe:
    """Recipe of a version's own score."""
    home = market.home
    return Recipe(
        reads={"candidate": home.candidate / RECORD_NAME, "training_dataset": home.training_dataset},
        writes=tuple(
            home.candidate / name
            for name in (STRETCH_SCORES_NAME, STRETCH_PREDICTIONS_NAME, STRETCH_BASELINES_NAME)
        ),
        settings={},
        code=("cryptoai_assets.lib.candidate", "cryptoai_assets.lib.scoring", *_FITTING),
    )


def backtest_recipe(market: MarketResource) -> Recipe:
    """Recipe of the backtest."""
    home = market.home
    return Recipe(
        reads={
            "candidate": home.candidate / RECORD_NAME,
            "chosen_on": home.procedure / PREDICTIONS_NAME,
            "counted_on": home.candidate / STRETCH_PREDICTIONS_NAME,
            "model_settings": home.model_settings,
        },
        writes=(home.backtest,),
        settings={"costs": asdict(market.settings.costs)},
        code=("cryptoai_assets.lib.backtest", "cryptoai_assets.lib.strategy"),
    )


def model_card_recipe(market: MarketResource) -> Recipe:
    """Recipe of a version's card."""
    home = market.home
    return Recipe(
        reads={
            "candidate": home.candidate / RECORD_NAME,
            "said": home.candidate / STRETCH_PREDICTIONS_NAME,
            "baselines": home.candidate / STRETCH_BASELINES_NAME,
            "procedure": home.procedure / PREDICTIONS_NAME,
            "model_settings": home.model_settings,
            "backtest": home.backtest,
        },
        writes=(home.candidate / CARD_NAME,),
        settings={"costs": asdict(market.settings.costs)},
        code=(
            "cryptoai_assets.lib.model_card",
            "cryptoai_assets.lib.scoring",
            "cryptoai_assets.lib.significance",
            "cryptoai_assets.lib.skill_tests",
            "cryptoai_assets.lib.slices",
        ),
    )


def _settings(market: MarketResource, config: TrainingConfig) -> dict[str, object]:
    as_of = config.time(market.now())
    return {
        "market": asdict(market.settings),
        "training": asdict(config.training(market.settings)),
        "as_of": as_of.isoformat(),
    }


RECIPES = {
    "training_dataset": training_dataset_recipe,
    "model_settings": lambda market: model_settings_recipe(market, TrainingConfig()),
    "walk_forward_scores": lambda market: walk_forward_scores_recipe(market, TrainingConfig()),
    "trained_forecaster": lambda market: trained_forecaster_recipe(market, TrainingConfig()),
    "version_scores": version_scores_recipe,
    "backtest": backtest_recipe,
    "model_card": model_card_recipe,
}
