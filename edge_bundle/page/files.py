"""What the pages of the service and of a device share, so that both look and draw the same."""

from pathlib import Path

SHARED_FILES = {name: Path(__file__).parent / name for name in ("candles.js", "page.css", "rows.js")}
