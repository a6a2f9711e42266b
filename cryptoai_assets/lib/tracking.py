"""The only door to MLflow: runs, figures, registered versions and their aliases."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

# MLflow reads this switch while it is imported.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# Copying a bundle's ten files needs no progress bar.
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

import mlflow
import numpy as np
import numpy.typing as npt
import polars as pl
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from edge_bundle.forecaster import GOLDEN_CANDLES_NAME
from edge_bundle.manifest import bundle_digest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CHAMPION, CHALLENGER = "champion", "challenger"
BUNDLE_ARTIFACT = "bundle"
# Of the run that made a version; one without it goes on.
VERSION_TAG = "version"
# By which MLflow names a run.
NAME_TAG = "mlflow.runName"
DIGEST_TAG = "bundle_sha256"
# MLflow takes at most so many parameters, or tags, in one call.
_ROWS_A_CALL = 100
_CANDLES = Schema(
    [
        ColSpec(DataType.long, "open_time_ms"),
        ColSpec(DataType.string, "symbol"),
        *(ColSpec(DataType.double, name) for name in ("open", "high", "low", "close", "volume")),
    ]
)
_FORECASTS = Schema(
    [
        ColSpec(DataType.string, "symbol"),
        ColSpec(DataType.long, "open_time_ms"),
        ColSpec(DataType.long, "horizon_bars"),
        *(
            ColSpec(DataType.double, name)
            for name in (
                "expected_return_bps",
                "probability_up",
                "expected_volatility_bps",
                "lower_bps",
                "upper_bps",
            )
        ),
        ColSpec(DataType.string, "abstention"),
    ]
)
_TEXTS = Schema([ColSpec(DataType.string, "text")])
_SENTIMENTS = Schema(
    [
        *(ColSpec(DataType.double, name) for name in ("negative", "neutral", "positive", "score")),
        ColSpec(DataType.string, "method"),
    ]
)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """How MLflow runs a bundle: the file that it loads, and what goes in and comes out.

    Parameters
    ----------
    example
        Input that a bundle answers.
    """

    name: str
    code: Path
    signature: ModelSignature
    example: Callable[[Path], object]


class TrackingError(Exception):
    """MLflow does not hold what was asked for."""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model."""

    model: str
    version: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def bundle_sha256(self) -> str | None:
        """Digest of the bundle that was registered; None for a version made elsewhere."""
        return self.tags.get(DIGEST_TAG)


@dataclass(frozen=True, slots=True)
class Tracking:
    """MLflow at one tracking URI.

    Parameters
    ----------
    artifact_root
        Folder of new experiments' artifacts.
    """

    uri: str
    artifact_root: Path
    experiment: str

    @property
    def _client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @contextmanager
    def run(self, name: str, *, tags: Mapping[str, str], nested: bool = False) -> Iterator[str]:
        """Open a run, nested when asked, and yield its id; an exception marks it failed."""
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_experiment(experiment_id=self._experiment_id())
        with mlflow.start_run(run_name=name, tags=dict(tags), nested=nested) as run:
            yield str(run.info.run_id)

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        self.artifact_root.mkdir(parents=True, exist_ok=True)
        return self._client.create_experiment(
            self.experiment,
            artifact_location=(self.artifact_root.resolve() / self.experiment).as_uri(),
            tags={"mlflow.experimentKind": "custom_model_development"},
        )

    def begun_run(self, name: str, *, tag: str, value: str) -> str:
        """Id of the newest run that carries this tag and made no version, or of a new one."""
        experiment = self._experiment_id()
        for run in self._client.search_runs([experiment], f"tags.`{tag}` = '{value}'"):
            if VERSION_TAG not in run.data.tags:
                return str(run.info.run_id)
        return str(self._client.create_run(experiment, run_name=name, tags={tag: value}).info.run_id)

    def nested_runs(self, parent: str) -> list[Mapping[str, str]]:
        """Tags of each run below another one that ended well; those that were killed are marked so."""
        found = self._client.search_runs(
            [self._experiment_id()], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
        )
        for run in found:
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")
        return [dict(run.data.tags) for run in found if run.info.status == "FINISHED"]

    def nest(
        self,
        parent: str,
        name: str,
        *,
        parameters: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        began: datetime,
        ended: datetime,
    ) -> None:
        """Keep work that is done as a run below another one, whichever run is active."""
        run = self._client.create_run(
            self._experiment_id(),
            start_time=_milliseconds(began),
            run_name=name,
            tags={**tags, MLFLOW_PARENT_RUN_ID: parent},
        )
        self.log(run.info.run_id, parameters=parameters, metrics=metrics)
        self._client.set_terminated(run.info.run_id, end_time=_milliseconds(ended))

    def finished_run(self, tag: str, value: str) -> str | None:
        """Id of the newest run that carries this tag and ended well; None when there is none."""
        wanted = f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'"
        found = self._client.search_runs([self._experiment_id()], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def log(
        self,
        run_id: str,
        *,
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write parameters, metrics (grouped as ``group/name``) and tags to a run."""
        now_ms = int(time.time() * 1000)
        entries: list[Param | Metric | RunTag] = [
            *(Param(key, str(value)) for key, value in (parameters or {}).items()),
            *(Metric(key, float(number), now_ms, step=0) for key, number in (metrics or {}).items()),
            *(RunTag(key, text) for key, text in (tags or {}).items()),
        ]
        for start in range(0, len(entries), _ROWS_A_CALL):
            part = entries[start : start + _ROWS_A_CALL]
            self._client.log_batch(
                run_id,
                params=[entry for entry in part if isinstance(entry, Param)],
                metrics=[entry for entry in part if isinstance(entry, Metric)],
                tags=[entry for entry in part if isinstance(entry, RunTag)],
            )

    def log_figure(self, run_id: str, figure: "Figure", name: str) -> None:
        """Keep a figure with a run."""
        self._client.log_figure(run_id, figure, f"figures/{name}.png")

    def log_file(self, run_id: str, path: Path, folder: str) -> None:
        """Keep a copy of a file with a run, in a folder of its artifacts."""
        self._client.log_artifact(run_id, str(path), folder)

    def log_record(self, run_id: str, record: Mapping[str, Any], name: str) -> None:
        """Keep a JSON record with a run."""
        self._client.log_dict(run_id, dict(record), f"{name}.json")

    def record(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Read back a JSON record that `log_record` kept.

        Raises
        ------
        TrackingError
            When the run, or the record, is gone.
        """
        with tempfile.TemporaryDirectory() as scratch:
            try:
                path = self._client.download_artifacts(run_id, f"{name}.json", scratch)
            except (MlflowException, OSError) as error:
                raise TrackingError(f"the record {name} of run {run_id} cannot be read: {error}") from error
            found: Mapping[str, Any] = json.loads(Path(path).read_bytes())
            return found

    def metrics(self, run_id: str) -> Mapping[str, float]:
        """Metrics of a run, each as it was written last."""
        return dict(self._client.get_run(run_id).data.metrics)

    def register(
        self,
        run_id: str,
        bundle: Path,
        *,
        model: str,
        tags: Mapping[str, str],
        wrapping: "Wrapping | None" = None,
    ) -> RegisteredVersion:
        """Register a forecaster's bundle, wrapped for ``mlflow.pyfunc``, as the next version; `challenger`.

        The version is made with its tags in one step, the bundle's digest among them.

        Parameters
        ----------
        wrapping
            None is a forecaster's.
        """
        form = wrapping or FORECASTER
        with self.resumed(run_id):
            logged = mlflow.pyfunc.log_model(
                name=form.name,
                python_model=str(form.code),
                artifacts={BUNDLE_ARTIFACT: str(bundle)},
                signature=form.signature,
                input_example=form.example(bundle),
                pip_requirements=[f"cryptoai[platform]=={distribution_version('cryptoai')}"],
            )
            made = mlflow.register_model(
                logged.model_uri, model, tags={**tags, DIGEST_TAG: bundle_digest(bundle)}
            )
        self.set_alias(model, CHALLENGER, int(made.version))
        return self.version(model, int(made.version))

    @contextmanager
    def resumed(self, run_id: str) -> Iterator[None]:
        """Continue a run, so that what is logged or nested inside belongs to it."""
        mlflow.set_tracking_uri(self.uri)
        active = mlflow.active_run()
        if active is not None and active.info.run_id == run_id:
            yield
            return
        with mlflow.start_run(run_id=run_id):
            yield

    def version(self, model: str, version: int) -> RegisteredVersion:
        """Read a version.

        Raises
        ------
        TrackingError
            When it does not exist.
        """
        try:
            return _registered(self._client.get_model_version(model, str(version)))
        except MlflowException as error:
            if not _is_absence(error):
                raise
            raise TrackingError(f"{model} has no version {version}") from error

    def versions(self, model: str) -> list[RegisteredVersion]:
        """All versions, oldest first."""
        found = self._client.search_model_versions(f"name = '{model}'")
        return sorted((_registered(version) for version in found), key=lambda version: version.version)

    def alias(self, model: str, alias: str) -> RegisteredVersion | None:
        """Version that holds an alias; None when nobody does."""
        try:
            holders: Mapping[str, str] = self._client.get_registered_model(model).aliases
        except MlflowException as error:
            if not _is_absence(error):
                raise
            return None
        return self.version(model, int(holders[alias])) if alias in holders else None

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Move an alias."""
        self._client.set_registered_model_alias(model, alias, str(version))

    def remove_alias(self, model: str, alias: str) -> None:
        """Take an alias away; nothing happens when nobody holds it."""
        self._client.delete_registered_model_alias(model, alias)

    def tag_version(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Tag a version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(model, str(version), key, value)

    def describe_version(self, model: str, version: int, text: str) -> None:
        """Write what MLflow shows of a version; Markdown."""
        self._client.update_model_version(model, str(version), description=text)

    def copy_bundle(self, model: str, version: int, folder: Path) -> Path:
        """Copy a version's bundle into a folder, file by file as registered.

        Raises
        ------
        TrackingError
            When the version or its artifacts are gone, or hold no single bundle.
        """
        mlflow.set_tracking_uri(self.uri)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                local = mlflow.artifacts.download_artifacts(
                    f"models:/{model}/{version}", dst_path=scratch, tracking_uri=self.uri
                )
            except (MlflowException, OSError) as error:
                raise TrackingError(
                    f"the artifacts of {model} version {version} cannot be read: {error}"
                ) from error
            bundles = [path.parent for path in Path(local).glob("artifacts/*/manifest.json")]
            if len(bundles) != 1:
                raise TrackingError(f"{model} version {version} holds {len(bundles)} bundles, 1 needed")
            shutil.copytree(bundles[0], folder, dirs_exist_ok=True)
        return folder


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def pyfunc_base() -> type[Any]:
    """Class of which MLflow's own models are made."""
    base: type[Any] = mlflow.pyfunc.PythonModel
    return base


def declare_pyfunc(model: object) -> None:
    """Name the model of a file that MLflow runs to load a version."""
    mlflow.models.set_model(model)


def _candle_example(bundle: Path) -> "pd.DataFrame":
    """Candles that the bundle answers, as the signature states them."""
    candles = pl.read_parquet(bundle / GOLDEN_CANDLES_NAME)
    times = candles["open_time"].dt.epoch("ms").alias("open_time_ms")
    return candles.with_columns(times).select(_CANDLES.input_names()).to_pandas()


def _text_example(_bundle: Path) -> "pd.DataFrame":
    return pl.DataFrame({"text": ["Bitcoin rises"]}).to_pandas()


_LIB = Path(__file__).parent
FORECASTER = Wrapping(
    "forecaster", _LIB / "bundle_pyfunc.py", ModelSignature(_CANDLES, _FORECASTS), _candle_example
)
SENTIMENT = Wrapping(
    "sentiment",
    _LIB / "sentiment_methods" / "sentiment_pyfunc.py",
    ModelSignature(_TEXTS, _SENTIMENTS),
    _text_example,
)


def reader_wrapping(example: npt.NDArray[np.uint8 | np.float32], said: npt.NDArray[np.float32]) -> Wrapping:
    """Wrapping of a bundle that reads arrays.

    Parameters
    ----------
    example, said
        Some of what it reads, and the probabilities that it gives; their first axis is the batch.
    """
    signature = ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(said.dtype, (-1, *said.shape[1:]))]),
    )
    return Wrapping("reader", _LIB / "reader_pyfunc.py", signature, lambda _bundle: example)


def _is_absence(error: MlflowException) -> bool:
    return bool(error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST))


def _registered(version: ModelVersion) -> RegisteredVersion:
    return RegisteredVersion(
        str(version.name), int(version.version), str(version.run_id), dict(version.tags or {})
    )
