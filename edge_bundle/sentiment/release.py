"""A released sentiment method: a bundle that names one, with its weights and golden texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from edge_bundle.errors import BundleRefusedError
from edge_bundle.manifest import SCHEMA_VERSION, Promise, bundle_digest
from edge_bundle.releases import read_channel, release_folder
from edge_bundle.sentiment.keywords import KeywordSentiment
from edge_bundle.sentiment.method import Sentiment, SentimentMethod
from edge_bundle.sentiment.transformer import TransformerSentiment

MODEL = "cryptoai-sentiment"
GOLDEN_TEXTS_NAME = "golden.json"
# Shares of one text on two machines: INT8 products are summed in another order.
TOLERANCE = 0.02


def _vader(_folder: Path) -> SentimentMethod:
    # A client of the web comes with it, which a device that scores by another method need not load.
    from edge_bundle.sentiment.vader import VaderSentiment

    return VaderSentiment.load()


# What runs without a training stack and without a server; each takes the folder of its bundle.
METHODS: Mapping[str, Callable[[Path], SentimentMethod]] = {
    "keywords": lambda _: KeywordSentiment(),
    "vader": _vader,
    "transformer": TransformerSentiment.load,
}


@dataclass(frozen=True, slots=True)
class SentimentManifest(Promise):
    """The promise of a released method.

    Parameters
    ----------
    model
        Registered name.
    method, method_version
        Of `METHODS`, and the state whose scores were compared.
    as_of
        ISO time of the comparison.
    """

    required: ClassVar[tuple[str, ...]] = (GOLDEN_TEXTS_NAME,)
    model: str
    method: str
    method_version: str
    as_of: str
    git_commit: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ReplayedTexts:
    """Result of scoring the golden texts on this machine; `largest_difference` is that of a share."""

    passed: bool
    largest_difference: float
    tolerance: float
    # A text has no features.
    largest_feature_difference: float = 0.0


@dataclass(frozen=True, slots=True)
class SentimentBundle:
    """A released method that was verified and loaded; make it with `load`."""

    folder: Path
    manifest: SentimentManifest
    digest: str
    method: SentimentMethod

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Verify a bundle folder and load its method.

        Raises
        ------
        BundleRefusedError
            When a file is absent or changed, or this machine has no such method, or another version of it.
        """
        folder = Path(folder)
        manifest = SentimentManifest.read(folder)
        manifest.verify_files(folder)
        if manifest.method not in METHODS:
            raise BundleRefusedError(f"{manifest.method} is no method here: {', '.join(METHODS)} are")
        method = METHODS[manifest.method](folder)
        if method.version != manifest.method_version:
            raise BundleRefusedError(
                f"{method.name} is of version {method.version} here, the bundle promises "
                f"{manifest.method_version}: install that one, or compare the methods again"
            )
        return cls(folder, manifest, bundle_digest(folder), method)

    def selftest(self) -> ReplayedTexts:
        """Score the golden texts of the bundle on this machine."""
        golden = json.loads((self.folder / GOLDEN_TEXTS_NAME).read_bytes())
        said = self.method.scores([one["text"] for one in golden])
        largest = max(
            abs(share - known)
            for one, known_one in zip(said, golden, strict=True)
            for share, known in zip(shares(one), known_one["shares"], strict=True)
        )
        return ReplayedTexts(largest <= TOLERANCE, largest, TOLERANCE)


def shares(said: Sentiment) -> Sequence[float]:
    """Shares of negative, neutral and positive."""
    return (said.negative, said.neutral, said.positive)


def released_bundle(root: Path) -> SentimentBundle | None:
    """Released champion; None where nothing was released.

    Raises
    ------
    EdgeBundleError
        When the channel or the bundle cannot be read, or is not what the channel promises.
    """
    channel = read_channel(root, MODEL)
    if channel is None or channel.champion is None:
        return None
    bundle = SentimentBundle.load(release_folder(root, MODEL, channel.champion.version))
    if bundle.digest != channel.champion.sha256:
        raise BundleRefusedError(
            f"version {channel.champion.version} of {MODEL} is not what the channel promises: "
            "promote or roll back again"
        )
    return bundle


def released_method(root: Path) -> SentimentMethod:
    """Method of the released champion; the transformer that is shipped where nothing was released.

    Raises
    ------
    EdgeBundleError
        As `released_bundle` does.
    """
    bundle = released_bundle(root)
    return TransformerSentiment.load() if bundle is None else bundle.method
