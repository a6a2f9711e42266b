"""What every asset reads and writes, in the order in which they are made, and what is out of date."""

from collections.abc import Callable, Mapping

import dagster as dg

from cryptoai_assets.defs.charts import recipes as charts
from cryptoai_assets.defs.features import recipes as features
from cryptoai_assets.defs.market_data import recipes as market_data
from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH
from cryptoai_assets.defs.materialization import UNPARTITIONED, recorded_fingerprints
from cryptoai_assets.defs.monitoring import recipes as monitoring
from cryptoai_assets.defs.news import recipes as news
from cryptoai_assets.defs.outside import recipes as outside
from cryptoai_assets.defs.readers import recipes as readers
from cryptoai_assets.defs.release import recipes as release
from cryptoai_assets.defs.resources import MarketResource, configured_market, configured_resource
from cryptoai_assets.defs.sentiment import recipes as sentiment
from cryptoai_assets.defs.training import recipes as training
from cryptoai_assets.lib.planner import Recipe, out_of_date

PARTITIONED: Mapping[str, Callable[[MarketResource, str], Recipe]] = {
    **market_data.RECIPES,
    **features.RECIPES,
}
WHOLE: Mapping[str, Callable[[MarketResource], Recipe]] = {
    **(outside.RECIPES if configured_market().greatest_ages else {}),
    **(sentiment.RECIPES if configured_resource().labelled_texts else {}),
    **(news.RECIPES if configured_market().grows else {}),
    "candle_coverage": market_data.candle_coverage_recipe,
    **charts.RECIPES,
    **readers.RECIPES,
    # Features are judged before a dataset is made of them, and described before anything is trained on it.
    "feature_audit": features.feature_audit_recipe,
    "training_dataset": training.training_dataset_recipe,
    "feature_report": features.feature_report_recipe,
    **training.RECIPES,
    **release.RECIPES,
    **monitoring.RECIPES,
}
_FACTS = (*outside.RECIPES, *sentiment.RECIPES, *news.RECIPES)
FIRST = (*market_data.RECIPES, *(name for name in _FACTS if name in WHOLE))
IN_ORDER = (*FIRST, *(name for name in (*PARTITIONED, *WHOLE) if name not in FIRST))


def stale_partitions(instance: dg.DagsterInstance, market: MarketResource, asset: str) -> list[str]:
    """Partition keys of an asset that are out of date, in order; `UNPARTITIONED` stands for the whole."""
    if asset in PARTITIONED:
        recipe = PARTITIONED[asset]
        recipes = {str(key): recipe(market, str(key)) for key in SYMBOL_MONTH.get_partition_keys()}
    else:
        recipes = {UNPARTITIONED: WHOLE[asset](market)}
    return out_of_date(recipes, recorded_fingerprints(instance, asset))
