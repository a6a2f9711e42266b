"""The pages for people: what is forecast, and the documentation of the addresses."""

from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from cryptoai_serving.reference import REFERENCE_POLICY, reference_page
from edge_bundle.page.files import SHARED_FILES

PAGE = Path(__file__).parents[1] / "page"
FILES = {**SHARED_FILES, "page.js": PAGE / "page.js"}
# A browser runs what the service itself sends, and the page may ask its own server alone.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# They hold no forecast: what they show, they ask for with the key of whoever looks.
router = APIRouter(include_in_schema=False)


@router.get("/")
async def front_page() -> Response:
    """Page that shows what is loaded and its latest forecasts."""
    return FileResponse(PAGE / "index.html", headers={"content-security-policy": PAGE_POLICY})


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    """File of the page."""
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(FILES[name], headers={"cache-control": "no-cache"})


@router.get("/api/docs", response_class=HTMLResponse)
async def documentation(request: Request) -> Response:
    """Page of the OpenAPI document."""
    page = reference_page(request.app.openapi(), server=str(request.base_url).rstrip("/"))
    return HTMLResponse(page, headers={"content-security-policy": REFERENCE_POLICY})
