"""Reproduction: a registered version is trained again from its record and held against what was recorded."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptoai_assets.lib.candidate import Candidate, bundle_folder, score_stretch, train_candidate
from cryptoai_assets.lib.fingerprints import file_fingerprint
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_assets.lib.training import git_commit, known_dataset, training_splits
from cryptoai_assets.lib.training_record import CANDIDATE_RECORD, STRETCH_GROUP
from edge_bundle.features.catalog import catalog, fingerprint
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME, Manifest

# Of a hash that is shown; all of them are compared.
SHOWN_DIGITS = 12


class ReproductionError(Exception):
    """A version cannot be trained again here; the message says what is missing or differs."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One fact of a version: as it was recorded, and as it came out again."""

    name: str
    recorded: str | float
    again: str | float

    @property
    def equal(self) -> bool:
        """Whether both are the same to the last bit; two values that are no numbers are the same."""
        both = (self.recorded, self.again)
        return self.recorded == self.again or all(isinstance(v, float) and math.isnan(v) for v in both)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came out of a second training.

    Parameters
    ----------
    recorded_commit, commit
        Of the code that trained, then and now; they are told and not compared.
    """

    model: str
    version: int
    recorded_commit: str
    commit: str
    lines: tuple[Compared, ...]

    @property
    def equal(self) -> bool:
        """Whether the graph and every score are the same."""
        return all(line.equal for line in self.lines)


def reproduce(home: Home, version: int) -> Reproduction:
    """Train a version again from its record, score the bundle's bytes again, and compare; nothing is kept.

    Raises
    ------
    TrackingError
        When the version, or its record, is not in MLflow.
    ReproductionError
        When its data or features are not those that were recorded, or it was never scored.
    """
    tracking, market = home.tracking, home.market
    registered = tracking.version(market.model, version)
    candidate = Candidate.from_dict(tracking.record(registered.run_id, CANDIDATE_RECORD))
    recorded_scores = _recorded_scores(tracking.metrics(registered.run_id), version)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = tracking.copy_bundle(market.model, version, Path(scratch) / "recorded")
        promised, recorded_graph = Manifest.read(bundle), file_fingerprint(bundle / GRAPH_NAME)
        _refuse_other_inputs(home, candidate, promised.features, version)
        frame = read_stored_parquet(home.training_dataset)
        data = known_dataset(frame, candidate.features_offered, market, candidate.as_of)
        splits = training_splits(data, market, candidate.settings)
        folder, commit = Path(scratch) / "again", git_commit()
        train_candidate(
            folder,
            data,
            splits,
            candidate.model_settings,
            stored_window(home, data.names),
            market=market,
            settings=candidate.settings,
            as_of=candidate.as_of,
            data_fingerprint=candidate.data_fingerprint,
            git_commit=commit,
            cause=candidate.cause,
            # Of two nearly equal precisions either may be the slower one the next time.
            precision=promised.quantization.get("method"),
        )
        forecaster = Forecaster.load(bundle_folder(folder))
        result = score_stretch(forecaster, data, splits, market=market, settings=candidate.settings)
        scores = {score.name: score.value for score in result.scores}
        graph = file_fingerprint(bundle_folder(folder) / GRAPH_NAME)
    lines = (
        Compared(f"SHA-256 of {GRAPH_NAME}", recorded_graph, graph),
        *(
            Compared(name, recorded_scores.get(name, "absent"), scores.get(name, "absent"))
            for name in dict.fromkeys((*scores, *recorded_scores))
        ),
    )
    return Reproduction(market.model, version, candidate.git_commit, commit, lines)


def _recorded_scores(metrics: Mapping[str, float], version: int) -> dict[str, float]:
    """Scores of the version's own bytes, by the names that the scoring gives them."""
    scores = {
        name.removeprefix(STRETCH_GROUP): value
        for name, value in metrics.items()
        if name.startswith(f"{STRETCH_GROUP}h")
    }
    if not scores:
        raise ReproductionError(f"version {version} was never scored: materialize version_scores first")
    return scores


def _refuse_other_inputs(home: Home, candidate: Candidate, names: Sequence[str], version: int) -> None:
    code = f"check out the commit {candidate.git_commit.rstrip('+')} that trained version {version}"
    unknown = sorted(set(names) - set(catalog()))
    here = "none" if unknown else fingerprint(names)
    if here != candidate.feature_fingerprint:
        absent = f" (absent: {', '.join(unknown)})" if unknown else ""
        raise ReproductionError(
            f"version {version} was trained on features with the fingerprint "
            f"{candidate.feature_fingerprint}, this code computes {here}{absent}: {code}"
        )
    found = file_fingerprint(home.training_dataset) if home.training_dataset.is_file() else "none"
    if found != candidate.data_fingerprint:
        raise ReproductionError(
            f"version {version} was trained on the dataset with the fingerprint "
            f"{candidate.data_fingerprint}, {home.training_dataset} has {found}: bring back the candles as "
            f"they were on {candidate.as_of:%Y-%m-%d %H:%M} UTC, {code} if the code has changed since, and "
            "run `make demo` to make the dataset again"
        )


def table(found: Reproduction) -> str:
    """Everything that was compared, one row a fact, and the verdict."""
    rows = [
        ("", "recorded", "again", ""),
        ("trained by commit", found.recorded_commit, found.commit, "not compared"),
        *((line.name, _text(line.recorded), _text(line.again), _verdict(line)) for line in found.lines),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    body = "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )
    differing = sum(not line.equal for line in found.lines)
    verdict = (
        f"{differing} of {len(found.lines)} differ" if differing else f"all {len(found.lines)} are equal"
    )
    return f"{body}\n{found.model} version {found.version}, trained again: {verdict}.\n"


def _verdict(line: Compared) -> str:
    return "equal" if line.equal else "DIFFERS"


def _text(value: str | float) -> str:
    if isinstance(value, float):
        return repr(value)
    return value if len(value) <= SHOWN_DIGITS else f"{value[:SHOWN_DIGITS]}…"
