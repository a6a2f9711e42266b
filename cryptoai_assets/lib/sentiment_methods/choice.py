"""Methods by the names that a setting may give, alone or behind each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptoai_assets.lib.sentiment_methods.chain import SentimentChain
from cryptoai_assets.lib.sentiment_methods.ollama import DEFAULT_MODEL, OllamaSentiment
from edge_bundle.sentiment.keywords import KeywordSentiment
from edge_bundle.sentiment.method import SentimentMethod, SentimentUnavailableError
from edge_bundle.sentiment.release import released_method
from edge_bundle.sentiment.transformer import TransformerSentiment
from edge_bundle.sentiment.vader import VaderSentiment

# What the gate has released, and the shipped transformer where it has released nothing.
RELEASED = "released"
HUGGING_FACE, OLLAMA = "hugging_face", "ollama"
BEHIND = ">"
# After so many failures in a row a member of a chain is left out for the rest of a call.
CHAIN_PATIENCE = 3
OLLAMA_TIMEOUT_SECONDS = 30.0


def _textblob() -> SentimentMethod:
    # It reads a whole library of language at its import.
    from cryptoai_assets.lib.sentiment_methods.textblob_polarity import TextBlobSentiment

    return TextBlobSentiment()


_PLAIN: Mapping[str, Callable[[], SentimentMethod]] = {
    "keywords": KeywordSentiment,
    "vader": VaderSentiment.load,
    "textblob": _textblob,
    "transformer": TransformerSentiment.load,
}
NAMES = (RELEASED, *_PLAIN, f"{HUGGING_FACE}:NAME", OLLAMA, f"{OLLAMA}:MODEL")


class UnknownMethodError(Exception):
    """A setting names a method that there is not."""


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """Where named methods are found.

    Parameters
    ----------
    names
        One of `NAMES`, or several with ``>`` between, the first one asked first.
    releases
        Root folder of the releases.
    ollama
        Address of a running Ollama.
    """

    names: str
    releases: Path
    ollama: str

    def method(self) -> SentimentMethod:
        """The method, loaded.

        Raises
        ------
        UnknownMethodError
            When a name is of no method.
        SentimentUnavailableError
            When it cannot be had on this machine.
        """
        methods = [self._named(name.strip()) for name in self.names.split(BEHIND)]
        return methods[0] if len(methods) == 1 else SentimentChain(methods, CHAIN_PATIENCE)

    def _named(self, name: str) -> SentimentMethod:
        kind, _, model = name.partition(":")
        if name == RELEASED:
            return released_method(self.releases)
        if name in _PLAIN:
            return _PLAIN[name]()
        if kind == OLLAMA:
            return OllamaSentiment(self.ollama, model or DEFAULT_MODEL, OLLAMA_TIMEOUT_SECONDS)
        if kind == HUGGING_FACE and model:
            return _hugging_face(model)
        raise UnknownMethodError(f"{name[:60]!r} is no method: {', '.join(NAMES)} are known")


def _hugging_face(model: str) -> SentimentMethod:
    """A classifier; whether it may be downloaded, `HF_HUB_OFFLINE` says."""
    try:
        # PyTorch comes with it: who asks for nothing of it must not wait for it.
        from cryptoai_assets.lib.sentiment_methods.hugging_face import HuggingFaceSentiment
    except ModuleNotFoundError as error:
        raise SentimentUnavailableError(
            f"{error.name} is not installed: make networks installs it"
        ) from error
    return HuggingFaceSentiment.load(model, offline=False)
