"""Methods by the names of a setting: each is had, a chain falls back, and another name is refused."""

from pathlib import Path

import pytest
from fakes.ollama_server import ollama_server
from fakes.sentiment_releases import release_sentiment

from cryptoai_assets.lib.sentiment_methods.choice import MethodChoice, UnknownMethodError
from edge_bundle.sentiment.method import SentimentUnavailableError

NOBODY = "http://127.0.0.1:9"


def choice(names: str, releases: Path = Path("nowhere"), ollama: str = NOBODY) -> MethodChoice:
    return MethodChoice(names, releases, ollama)


@pytest.mark.parametrize("name", ["keywords", "vader", "textblob", "transformer"])
def test_plain_name_is_a_method(name: str) -> None:
    method = choice(name).method()
    assert method.name == name
    assert len(method.scores(["Bitcoin rises"])) == 1


def test_released_is_what_the_gate_let_through(tmp_path: Path) -> None:
    assert choice("released", tmp_path).method().name == "transformer"
    release_sentiment(tmp_path, "keywords", version=1)
    assert choice("released", tmp_path).method().name == "keywords"


def test_language_model_answers_under_its_address_and_a_chain_falls_back_from_it() -> None:
    with ollama_server() as server:
        method = choice("ollama:llama3", ollama=server.url).method()
        assert (method.name, method.version) == ("llm", "llama3")
        assert method.scores(["Bitcoin rises"])[0].positive == pytest.approx(0.7)
        assert server.asked[0]["model"] == "llama3"
    with pytest.raises(SentimentUnavailableError):
        choice("ollama").method().scores(["Bitcoin rises"])
    said = choice("ollama > vader>keywords").method().scores(["Bitcoin rises", "so"])
    assert [one.method for one in said] == ["vader", "vader"]


@pytest.mark.parametrize("name", ["oracle", "", "hugging_face", "hugging_face:", "vader:2", "keywords>"])
def test_other_name_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(UnknownMethodError, match="released, keywords, vader, textblob, transformer"):
        choice(name).method()
