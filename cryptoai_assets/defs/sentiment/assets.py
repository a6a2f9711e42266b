"""Sentiment methods compared on labelled texts, and the best of them released by the gate."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.release.assets import decision_metadata, note_decision
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.sentiment import recipes
from cryptoai_assets.defs.sentiment.methods import compared_methods
from cryptoai_assets.lib.decisions import GATE
from cryptoai_assets.lib.figures import methods_figure
from cryptoai_assets.lib.gate import Decision, decide
from cryptoai_assets.lib.sentiment_methods.comparison import (
    POLICY,
    compared,
    drawn_texts,
    sentiment_evidence,
    trained_hashes,
)
from cryptoai_assets.lib.sentiment_methods.comparison_runs import METHOD_TAG, record_comparison
from cryptoai_assets.lib.sentiment_methods.labelled import LabelledText, labelled_texts, unread_texts
from cryptoai_assets.lib.sentiment_methods.sentiment_bundle import write_sentiment_bundle
from cryptoai_assets.lib.tracking import SENTIMENT
from cryptoai_assets.lib.training import git_commit
from edge_bundle.releases import read_channel
from edge_bundle.sentiment.release import MODEL, SentimentBundle, released_bundle
from edge_bundle.whole_file import replace_file

GROUP = "sentiment"
NOT_CONFIGURED = (
    "not configured: name a CSV with the columns text and label, or a folder, in CRYPTOAI_LABELLED_TEXTS"
)


@dg.asset(group_name=GROUP, kinds={"mlflow"})
def sentiment_comparison(market: MarketResource) -> dg.MaterializeResult[None]:
    """One row a method: how well and how fast it labels texts that people labelled and none was trained on.

    From the file or folder that is set; the project ships no labelled text.
    """

    def make() -> dict[str, Any]:
        if recipes.labelled_place(market) is None:
            _write(recipes.comparison_path(market), {"best": None, "state": NOT_CONFIGURED})
            return {"state": NOT_CONFIGURED}
        found = compared(_texts(market), compared_methods(market), stopwatch=time.perf_counter)
        run_id = record_comparison(market.home.tracking, found)
        _write(recipes.comparison_path(market), found.record())
        return {
            "state": "compared",
            "texts": len(found.texts),
            "methods": table(found.table(), len(found.methods)),
            "absent": dict(found.absent),
            "best": found.best.name if found.best else "none that a device runs fast enough",
            "mlflow_run": run_id,
            "figure": picture(methods_figure(found.table())),
        }

    return materialized(recipes.sentiment_comparison_recipe(market), make)


@dg.asset(group_name=GROUP, kinds={"mlflow", "onnx"}, deps=[sentiment_comparison])
def released_sentiment(
    context: dg.AssetExecutionContext, market: MarketResource
) -> dg.MaterializeResult[None]:
    """The method that scores news, here and in the service: the best that a device runs, if the gate agrees.

    Until then the shipped transformer does.
    """

    def make() -> dict[str, Any]:
        home = market.home
        home.release_desk.finish_open_intents(market.clock())
        compared_before = json.loads(recipes.comparison_path(market).read_bytes())
        champion, best = released_bundle(home.releases), compared_before["best"]
        if best is None or (champion is not None and _is(champion, compared_before["methods"][best])):
            told = compared_before.get("state") or (
                "nothing may be released" if best is None else "it is the best"
            )
            _write(recipes.decision_path(market), {"promote": False, "state": told})
            return {"promoted": False, "state": told, **_released(market)}
        decision = _decided(market, compared_before["methods"][best], champion)
        _write(recipes.decision_path(market), decision.to_dict())
        for reason in decision.reasons:
            context.log.info(reason)
        return {"promoted": decision.promote, **_released(market), **decision_metadata(decision)}

    return materialized(recipes.released_sentiment_recipe(market), make)


def _decided(market: MarketResource, row: Mapping[str, Any], champion: SentimentBundle | None) -> Decision:
    """Register the method as the next version, ask the gate, and release it when it is let through."""
    home, now = market.home, market.clock()
    bundle = write_sentiment_bundle(
        home.sentiment / "bundle", row["method"], as_of=now, git_commit=git_commit()
    )
    with home.tracking.run(f"{MODEL} {row['method']}", tags={METHOD_TAG: row["method"]}) as run_id:
        tags = {"kind": row["method"], "method_version": row["version"]}
        made = home.tracking.register(run_id, bundle.folder, model=MODEL, tags=tags, wrapping=SENTIMENT)
    texts = drawn_texts(_texts(market))
    evidence = sentiment_evidence(
        texts, bundle, champion, texts_a_second=row["texts_a_second"], trained=trained_hashes()
    )
    decision = decide(evidence, POLICY)
    note_decision(home, MODEL, made.version, decision, now)
    if decision.promote:
        reason = "; ".join(decision.reasons)
        home.release_desk.promote(
            MODEL, made.version, actor=GATE, reason=reason, numbers=decision.to_dict(), at=now
        )
    return decision


def _texts(market: MarketResource) -> tuple[LabelledText, ...]:
    place = recipes.labelled_place(market)
    return unread_texts(labelled_texts(place), trained_hashes()) if place else ()


def _is(champion: SentimentBundle, row: Mapping[str, Any]) -> bool:
    return (champion.manifest.method, champion.manifest.method_version) == (row["method"], row["version"])


def _released(market: MarketResource) -> dict[str, Any]:
    channel = read_channel(market.home.releases, MODEL)
    champion = channel.champion if channel else None
    return {"champion": champion.version if champion else "none: the shipped transformer scores"}


def _write(path: Path, record: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(record, indent=1, default=str))


sentiment_assets = [sentiment_comparison, released_sentiment]
