"""Released versions and their files, for devices."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse

from cryptoai_serving.access import guarded
from cryptoai_serving.refusals import request_id
from cryptoai_serving.release_messages import LAST_VERSION, ReleaseMessage, ReleasesAnswer, StopOrderMessage
from cryptoai_serving.released_files import check_range, released_file, releases_of, stop_order_of
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import GUARDED, NAME, RANGE, RELEASE, ModelName

router = APIRouter(prefix="/releases", route_class=guarded("device"), responses=GUARDED, tags=["releases"])


@router.get("/{model}", responses=RELEASE)
async def releases(request: Request, model: ModelName) -> ReleasesAnswer:
    """Versions of a model that may run, their files with their hashes, and the newest stop order."""
    root = rooms_of(request).settings.releases
    found = await asyncio.to_thread(releases_of, root, model)
    order = await asyncio.to_thread(stop_order_of, root, model)
    return ReleasesAnswer(
        model=model,
        releases=[ReleaseMessage.of(release) for release in found],
        stop_order=StopOrderMessage(**order.to_dict()) if order else None,
        request_id=request_id(request),
    )


@router.get(
    "/{model}/{version}/{file}",
    response_class=Response,
    responses=RELEASE
    | RANGE
    | {200: {"description": "The file", "content": {"application/octet-stream": {}}}},
)
async def released_version_file(
    request: Request,
    model: ModelName,
    version: Annotated[int, Path(ge=1, le=LAST_VERSION, examples=[3])],
    file: Annotated[str, Path(pattern=NAME, description="As listed", examples=["model.onnx"])],
    asked_range: Annotated[
        str | None, Header(alias="range", max_length=200, description="One part, as in bytes=0-1023")
    ] = None,
    if_range: Annotated[
        str | None, Header(max_length=200, description="ETag that the part is wanted of")
    ] = None,
    if_none_match: Annotated[str | None, Header(max_length=2000, description="ETag of what is there")] = None,
) -> Response:
    """A file of a released version, whole or one part of it; its ETag is the SHA-256 of its bytes."""
    root = rooms_of(request).settings.releases
    found = await asyncio.to_thread(released_file, root, model, version, file)
    headers = {"etag": found.etag, "cache-control": "private, max-age=31536000, immutable"}
    if if_none_match is not None and _matches(if_none_match, found.etag):
        return Response(status_code=304, headers=headers)
    if asked_range is not None and if_range in (None, found.etag):
        check_range(asked_range, found.size)
    return FileResponse(found.path, headers=headers, media_type="application/octet-stream")


def _matches(asked: str, etag: str) -> bool:
    return any(one.strip().removeprefix("W/") in ("*", etag) for one in asked.split(","))
