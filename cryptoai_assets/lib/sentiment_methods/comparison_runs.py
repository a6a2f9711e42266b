"""What MLflow is told of a comparison of sentiment methods: a run a method, below one of all."""

from cryptoai_assets.lib.figures import methods_figure
from cryptoai_assets.lib.sentiment_methods.comparison import Compared
from cryptoai_assets.lib.tracking import Tracking

METHOD_TAG = "sentiment_method"


def record_comparison(tracking: Tracking, found: Compared) -> str:
    """Write the runs; id of the one above all."""
    with tracking.run("sentiment comparison", tags={METHOD_TAG: "all"}) as parent:
        tracking.log(
            parent,
            parameters={
                "texts": len(found.texts),
                **{f"absent/{name}": told for name, told in found.absent.items()},
            },
        )
        table = found.table()
        for row in table.iter_rows(named=True):
            name = f"sentiment {row['method']}"
            with tracking.run(name, tags={METHOD_TAG: row["method"]}, nested=True) as run_id:
                words = ("method", "version", "may_be_released")
                tracking.log(
                    run_id,
                    parameters={word: row[word] for word in words},
                    metrics={f"sentiment/{key}": value for key, value in row.items() if key not in words},
                )
        if table.height:
            tracking.log_figure(parent, methods_figure(table), "sentiment_methods")
        return parent
