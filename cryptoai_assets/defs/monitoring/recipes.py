"""What each monitoring asset reads and writes."""

from collections.abc import Callable, Mapping

from cryptoai_assets.defs.release.recipes import DECISION_NAME
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.planner import Recipe
from cryptoai_assets.lib.watch import DRIFT_NAME, VERDICT_NAME
from edge_bundle.releases import channel_path


def drift_report_recipe(market: MarketResource) -> Recipe:
    """Recipe of a drift report: the champion, the newest features, and the forecasts that were served."""
    home = market.home
    return Recipe(
        reads={
            "decision": home.candidate / DECISION_NAME,
            "channel": channel_path(home.releases, market.settings.model),
            "training_dataset": home.training_dataset,
        },
        writes=(home.monitoring / VERDICT_NAME, home.monitoring / DRIFT_NAME),
        settings={},
        code=(
            "cryptoai_monitoring",
            *(f"cryptoai_assets.lib.{name}" for name in ("hourly_watch", "live_scores", "watch")),
        ),
    )


RECIPES: Mapping[str, Callable[[MarketResource], Recipe]] = {"drift_report": drift_report_recipe}
