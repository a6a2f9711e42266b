"""The only door to MLflow: runs, figures, registered versions and their aliases."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

CHAMPION, CHALLENGER = "champion", "challenger"
BUNDLE_ARTIFACT = "bundle"
_INPUT = Schema(
    [
        ColSpec(DataType.long, "open_time_ms"),
        ColSpec(DataType.string, "symbol"),
        *(ColSpec(DataType.double, name) for name in ("open", "high", "low", "close", "volume")),
    ]
)
_OUTPUT = Schema(
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


class TrackingError(Exception):
    """MLflow does not hold what was asked for."""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model."""

    model: str
    version: int
    run_id: str
    tags: Mapping[str, str]


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
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
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

    def log(
        self,
        run_id: str,
        *,
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write parameters, metrics (grouped as ``group/name``) and tags to a run."""
        for key, value in (parameters or {}).items():
            self._client.log_param(run_id, key, value)
        for key, number in (metrics or {}).items():
            self._client.log_metric(run_id, key, float(number))
        for key, text in (tags or {}).items():
            self._client.set_tag(run_id, key, text)

    def log_figure(self, run_id: str, figure: Figure, name: str) -> None:
        """Keep a figure with a run."""
        self._client.log_figure(run_id, figure, f"figures/{name}.png")

    def log_record(self, run_id: str, record: Mapping[str, Any], name: str) -> None:
        """Keep a JSON record with a run."""
        self._client.log_dict(run_id, dict(record), f"{name}.json")

    def register(
        self, run_id: str, bundle: Path, *, model: str, tags: Mapping[str, str]
    ) -> RegisteredVersion:
        """Register a bundle, wrapped for ``mlflow.pyfunc``, as the next version; alias `challenger`."""
        mlflow.set_tracking_uri(self.uri)
        with self._resumed(run_id):
            info = mlflow.pyfunc.log_model(
                name="forecaster",
                python_model=str(Path(__file__).with_name("bundle_pyfunc.py")),
                artifacts={BUNDLE_ARTIFACT: str(bundle)},
                signature=ModelSignature(inputs=_INPUT, outputs=_OUTPUT),
                pip_requirements=["cryptoai"],
                registered_model_name=model,
            )
        version = int(info.registered_model_version)
        for key, value in tags.items():
            self._client.set_model_version_tag(model, str(version), key, value)
        self.set_alias(model, CHALLENGER, version)
        return self.version(model, version)

    @contextmanager
    def _resumed(self, run_id: str) -> Iterator[None]:
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
            raise TrackingError(f"{model} has no version {version}") from error

    def versions(self, model: str) -> list[RegisteredVersion]:
        """All versions, oldest first."""
        found = self._client.search_model_versions(f"name = '{model}'")
        return sorted((_registered(version) for version in found), key=lambda version: version.version)

    def alias(self, model: str, alias: str) -> RegisteredVersion | None:
        """Version that holds an alias; None when nobody does."""
        try:
            return _registered(self._client.get_model_version_by_alias(model, alias))
        except MlflowException:
            return None

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Move an alias."""
        self._client.set_registered_model_alias(model, alias, str(version))

    def tag_version(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Tag a version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(model, str(version), key, value)

    def copy_bundle(self, model: str, version: int, folder: Path) -> Path:
        """Copy a version's bundle into a folder, file by file as registered."""
        mlflow.set_tracking_uri(self.uri)
        with tempfile.TemporaryDirectory() as scratch:
            uri = f"models:/{model}/{version}"
            local = mlflow.artifacts.download_artifacts(uri, dst_path=scratch, tracking_uri=self.uri)
            (bundle,) = Path(local).glob("artifacts/*/manifest.json")
            shutil.copytree(bundle.parent, folder, dirs_exist_ok=True)
        return folder


def _registered(version: ModelVersion) -> RegisteredVersion:
    return RegisteredVersion(
        str(version.name), int(version.version), str(version.run_id), dict(version.tags or {})
    )
