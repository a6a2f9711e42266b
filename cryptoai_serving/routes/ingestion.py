"""Candles that devices send, a file a day."""

from datetime import date
from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response

from cryptoai_serving.access import guarded
from cryptoai_serving.daily_candles import MOST_DAYS, ExpectedDay, Kind, keep
from cryptoai_serving.errors import MediaTypeRefusedError, RequestRefusedError
from cryptoai_serving.ingestion_messages import DayKept
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import BODY, GUARDED

FIRST_DAY = date(2010, 1, 1)
KINDS: dict[str, Kind] = {"text/csv": "csv", "application/vnd.apache.parquet": "parquet"}
FILE = {"schema": {"type": "string", "format": "binary"}}
CSV_EXAMPLE = "open_time,symbol,open,high,low,close,volume\n2026-11-20T00:00:00Z,BTCUSDT,1,2,1,2,10\n"
router = APIRouter(prefix="/ingest", route_class=guarded("device"), responses=GUARDED, tags=["devices"])


@router.post(
    "/candles",
    responses=BODY | {201: {"model": DayKept, "description": "The candles are kept"}},
    response_description="These very bytes were kept already",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: FILE | ({"example": CSV_EXAMPLE} if kind == "text/csv" else {}) for kind in KINDS
            },
        }
    },
)
async def ingest_candles(
    request: Request,
    response: Response,
    day: Annotated[date, Query(description="UTC day of all bars in the file", examples=["2026-11-20"])],
    sha256: Annotated[
        str,
        Header(
            alias="x-content-sha256",
            pattern=r"^[0-9a-fA-F]{64}$",
            description="SHA-256 of the body, in hexadecimal",
            examples=["27a5b1c06fd3e948" * 4],
        ),
    ],
) -> DayKept:
    """Closed bars of one UTC day, as CSV or Parquet. The same file again changes nothing; another one of the
    same day and key takes the place of the first.
    """
    rooms = rooms_of(request)
    kind = KINDS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
    if kind is None:
        raise MediaTypeRefusedError(
            "the body is neither CSV nor Parquet by its content-type",
            where="content-type",
            cure=f"send one of {', '.join(KINDS)}",
        )
    manifest, now = rooms.desk.served().forecaster.manifest, rooms.clock()
    if not FIRST_DAY <= day <= now.date():
        raise RequestRefusedError(
            f"{day} is not a day from {FIRST_DAY} to {now.date()}",
            where="day",
            cure="send days that have begun",
        )
    work = partial(
        keep,
        await request.body(),
        kind,
        device=request.scope["state"]["caller"],
        promised_sha256=sha256,
        expected=ExpectedDay(day, manifest.interval, manifest.symbols, now),
        folder=rooms.settings.device_candles,
        most_days=MOST_DAYS,
    )
    kept = await run_sync(work, limiter=rooms.readers)
    response.status_code = 201 if kept.new else 200
    return DayKept(
        day=day,
        rows=kept.rows,
        symbols=list(kept.symbols),
        sha256=kept.sha256,
        new=kept.new,
        request_id=request_id(request),
    )
