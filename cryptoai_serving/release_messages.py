"""What goes over the wire about released versions and their files."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from cryptoai_serving.release_requests import RequestKind
from cryptoai_serving.released_files import Release

# MLflow counts them from 1, in 32 bits.
LAST_VERSION = 2**31 - 1


class ReleasedFileMessage(BaseModel):
    """A file of a version, to be fetched from /releases/{model}/{version}/{file}."""

    name: str
    sha256: str = Field(description="Of its bytes; compare it before the file is used")
    size: int = Field(description="In bytes")


class ReleaseMessage(BaseModel):
    """A version that may run."""

    role: str = Field(description="champion, challenger, shadow or experiment")
    version: int
    sha256: str = Field(description="Of its manifest, which holds the hashes of all other files")
    signature: str | None = Field(description="Over `sha256`; null while releases are not signed")
    files: list[ReleasedFileMessage]

    @classmethod
    def of(cls, release: Release) -> Self:
        """Describe a released version."""
        return cls(
            role=release.role,
            version=release.version.version,
            sha256=release.version.sha256,
            signature=release.version.signature,
            files=[
                ReleasedFileMessage(name=file.path.name, sha256=file.sha256, size=file.size)
                for file in release.files
            ],
        )


class StopOrderMessage(BaseModel):
    """Word to the devices, signed as releases are: a bundle has to be silent, or may speak again."""

    model: str
    sha256: str = Field(description="Of the bundle that it is about")
    reason: str = Field(description="Why the bundle has to be silent; empty when it may speak")
    signature: str


class ReleasesAnswer(BaseModel):
    """Every version of a model that may run, and the newest stop order; null when there was never one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "cryptoai-forecaster-sample",
                "releases": [
                    {
                        "role": "champion",
                        "version": 3,
                        "sha256": "9c1f0d52a7b84e6f" * 4,
                        "signature": None,
                        "files": [
                            {"name": "model.onnx", "sha256": "27a5b1c06fd3e948" * 4, "size": 1_204_224}
                        ],
                    }
                ],
                "stop_order": None,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    model: str
    releases: list[ReleaseMessage]
    stop_order: StopOrderMessage | None
    request_id: str


class PromotionRequest(BaseModel):
    """A version that is to become champion, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"version": 4, "reason": "better on the last week"}}
    )

    version: int = Field(ge=1, le=LAST_VERSION, strict=True, description="Registered version")
    reason: str = Field(min_length=1, max_length=500, description="Stands in the ledger")


class PromotionFiled(BaseModel):
    """The request waits for the platform, which asks the gate; the ledger holds what becomes of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "c41f8b0a92d7e635",
                "kind": "promotion",
                "model": "cryptoai-forecaster-sample",
                "version": 4,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    id: str = Field(description="Under which it waits")
    kind: RequestKind
    model: str
    version: int
    request_id: str
