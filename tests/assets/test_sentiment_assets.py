"""Sentiment methods compared and released in real Dagster runs, with a real MLflow and own labels."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import mlflow
import pandas as pd
import pytest
from fakes.mortal_desk import MLFLOW_WARNINGS, tracking_at
from fakes.sentiment_releases import AS_OF

from cryptoai_assets.defs.release.sensors import releases_follow_aliases
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.sentiment.assets import NOT_CONFIGURED, sentiment_assets
from cryptoai_assets.defs.sentiment.methods import sentiment_choice
from cryptoai_assets.defs.sentiment.recipes import comparison_path
from cryptoai_assets.lib.sentiment_methods.comparison_runs import METHOD_TAG
from cryptoai_assets.lib.sentiment_methods.sentiment_bundle import write_sentiment_bundle
from cryptoai_assets.lib.tracking import CHALLENGER, CHAMPION, SENTIMENT
from edge_bundle.releases import read_channel
from edge_bundle.sentiment.release import MODEL, released_method
from edge_bundle.sentiment.transformer import TransformerSentiment

pytestmark = MLFLOW_WARNINGS
SAYINGS = {
    "positive": (
        "{} profit jumps 40% and beats every forecast",
        "{} surges to a record after strong earnings",
        "{} wins a large order and raises its outlook",
    ),
    "negative": (
        "{} shares crash after it files for bankruptcy",
        "{} lays off a third of its staff",
        "{} is sued for fraud and its stock plunges",
    ),
    "neutral": (
        "{} to hold its annual general meeting in May",
        "{} appoints a new company secretary",
        "{} board meets on Friday to consider accounts",
    ),
}
NAMES = ("Alpha", "Beta", "Gamma", "Delta", "Omega", "Sigma", "Kappa", "Lambda", "Zeta", "Theta")


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> Mapping[str, Any]:
    [made] = result.asset_materializations_for_node(asset)
    return {name: entry.value for name, entry in made.metadata.items()}


def run(market: MarketResource) -> dict[str, Mapping[str, Any]]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(sentiment_assets, resources={"market": market}, instance=instance)
    return {name: metadata(result, name) for name in ("sentiment_comparison", "released_sentiment")}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> MarketResource:
    root = tmp_path_factory.mktemp("sentiment")
    rows = [
        f"{saying.format(name)},{label}"
        for name in NAMES
        for label, sayings in SAYINGS.items()
        for saying in sayings
    ]
    (root / "mine.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return MarketResource(
        name="sample",
        root=str(root),
        labelled_texts=str(root / "mine.csv"),
        ollama="http://127.0.0.1:9",
        time="2019-10-01T12:00:00+00:00",
    )


@pytest.fixture(scope="module")
def made(market: MarketResource) -> dict[str, Mapping[str, Any]]:
    return run(market)


def test_every_method_has_its_run_and_what_is_away_is_told(
    market: MarketResource, made: dict[str, Mapping[str, Any]]
) -> None:
    told = made["sentiment_comparison"]
    assert told["best"] == "transformer"
    assert set(told["absent"]) == {"ollama"}
    client = mlflow.MlflowClient(market.home.tracking.uri)
    [experiment] = client.search_experiments(filter_string="name = 'cryptoai'")
    runs = {
        found.data.tags[METHOD_TAG]: found
        for found in client.search_runs([experiment.experiment_id], f"tags.{METHOD_TAG} != 'all'")
        if found.data.metrics
    }
    assert set(runs) == {"keywords", "vader", "textblob", "transformer"}
    for found in runs.values():
        metrics = found.data.metrics
        assert metrics["sentiment/texts_a_second"] > 0
        assert 0 <= metrics["sentiment/macro_f1"] <= 1
        assert {f"sentiment/f1_{label}" for label in SAYINGS} <= set(metrics)
    parent = client.get_run(told["mlflow_run"])
    assert "Ollama did not answer" in parent.data.params["absent/ollama"]
    assert client.list_artifacts(told["mlflow_run"], "figures")


def test_best_is_released_by_the_gate_with_its_aliases_and_a_line_in_the_ledger(
    market: MarketResource, made: dict[str, Mapping[str, Any]]
) -> None:
    assert made["released_sentiment"]["promoted"], made["released_sentiment"]["reasons"]
    home = market.home
    channel = read_channel(home.releases, MODEL)
    assert channel is not None
    assert channel.champion is not None
    for alias in (CHAMPION, CHALLENGER):
        holder = home.tracking.alias(MODEL, alias)
        assert holder is not None
        assert holder.version == channel.champion.version == 1
    kinds = [entry.kind for entry in home.ledger.entries(MODEL)]
    assert kinds == ["intent", "promotion"]
    method = sentiment_choice(market).method()
    assert method.version == TransformerSentiment.load().version
    assert json.loads(comparison_path(market).read_text())["best"] == "transformer"


def test_registered_version_answers_through_mlflow(
    market: MarketResource, made: dict[str, Mapping[str, Any]]
) -> None:
    assert made
    mlflow.set_tracking_uri(tracking_at(Path(market.root).resolve()).uri)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@{CHAMPION}")
    texts = ["Bitcoin rises sharply", "Exchange files for bankruptcy"]
    found = model.predict(pd.DataFrame({"text": texts}))
    expected = TransformerSentiment.load().scores(texts)
    assert found["score"].tolist() == pytest.approx([one.score for one in expected])
    assert found["method"].tolist() == ["transformer"] * 2


def test_method_that_is_released_already_is_left_as_it_is(
    market: MarketResource, made: dict[str, Mapping[str, Any]]
) -> None:
    assert made
    again = run(market)["released_sentiment"]
    assert (again["promoted"], again["champion"]) == (False, 1)
    assert len(market.home.tracking.versions(MODEL)) == 1


def test_alias_that_a_person_moves_is_followed_and_scores(
    market: MarketResource, made: dict[str, Mapping[str, Any]], tmp_path: Path
) -> None:
    assert made
    root = tmp_path / "root"
    shutil.copytree(market.root, root)
    home = MarketResource(name="sample", root=str(root), time=market.time).home
    bundle = write_sentiment_bundle(tmp_path / "vader", "vader", as_of=AS_OF, git_commit="c")
    with home.tracking.run("by hand", tags={}) as run_id:
        version = home.tracking.register(run_id, bundle.folder, model=MODEL, tags={}, wrapping=SENTIMENT)
    home.tracking.set_alias(MODEL, CHAMPION, version.version)
    with dg.DagsterInstance.ephemeral() as instance:
        moved = MarketResource(name="sample", root=str(root), time=market.time)
        context = dg.build_sensor_context(instance=instance, resources={"market": moved})
        told = releases_follow_aliases(context)
    assert isinstance(told, dg.SkipReason)
    assert told.skip_message == f"version 2 of {MODEL} is released, as MLflow's alias says"
    assert released_method(home.releases).name == "vader"


def test_without_labelled_texts_it_is_shown_as_not_configured(tmp_path: Path) -> None:
    told = run(MarketResource(name="sample", root=str(tmp_path)))
    assert told["sentiment_comparison"]["state"] == told["released_sentiment"]["state"] == NOT_CONFIGURED
    assert not (tmp_path / "mlflow.db").exists() or not told["released_sentiment"]["promoted"]
