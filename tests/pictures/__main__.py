"""`make pictures`: the documentation's pictures of the loop, of a drift that a platform lives through.

A market begins to spread farther, Dagster's daemon judges it, and a Slack on loopback gets the message. Needs
the apt packages chromium and fonts-noto-color-emoji. The pictures are replaced; look at them.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fakes.browser import browser, opened_page
from fakes.slack_api import SlackApi, slack_api
from fakes.telling_market import describe
from fakes.watched_platform import (
    ARCHIVE,
    DRIFTED,
    PROJECT,
    answers,
    console,
    daemon,
    drifting_market,
    environment,
    page,
    wait_patiently,
)
from pictures.slack_message import slack_page
from playwright.sync_api import Browser

IMAGES = PROJECT / "docs" / "images"
# In pixels.
MESSAGE, ASSET, REPORT = (690, 100), (1500, 1250), (1100, 1000)


def main() -> None:
    """Live through a drift, and draw what its users see."""
    with TemporaryDirectory() as folder, slack_api() as slack, browser() as chromium:
        root = Path(folder)
        describe(root)
        shutil.copy(PROJECT / "dagster.yaml", root)
        drifting_market(DRIFTED).write_parquet(root / ARCHIVE)
        given = environment(root, slack)
        with console(root, given) as person:
            _tell("a first version is made, and drifts for two days")
            person.does("begin")
            with daemon(root, given), page(root, given) as dagster:
                _tell("the daemon judges the third")
                wait_patiently(lambda: bool(slack.pictures) and answers(dagster), "the drift is told")
                _draw(chromium, root, slack, f"{dagster.base_url}/assets/drift_report")


def _draw(chromium: Browser, root: Path, slack: SlackApi, asset: str) -> None:
    thread, picture = next(iter(slack.pictures.items()))
    message = slack.posted[int(float(thread)) - 1]
    report = max(root.rglob("drift.html"), key=lambda path: path.stat().st_mtime)
    with opened_page(chromium, MESSAGE) as seen:
        seen.page.set_content(slack_page(message, picture))
        _keep(seen.page.locator("article").screenshot(), "slack-alert")
    with opened_page(chromium, REPORT) as seen:
        seen.page.goto(report.as_uri())
        seen.page.get_by_text("drift").first.wait_for()
        _keep(seen.page.screenshot(), "evidently-report")
    with opened_page(chromium, ASSET) as seen:
        seen.page.goto(asset)
        seen.page.get_by_text("largest_drift").first.wait_for(timeout=60_000)
        _keep(seen.page.screenshot(), "drift-asset")


def _keep(drawn: bytes, name: str) -> None:
    (IMAGES / f"{name}.png").write_bytes(drawn)
    _tell(f"docs/images/{name}.png")


def _tell(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
