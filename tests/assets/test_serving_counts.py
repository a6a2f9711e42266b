"""Counts of the service: read off its own text, added up over looks, and right across its restarts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from fakes.installed_device import MODEL
from fakes.release_platform import platform_service
from fakes.waiting import wait_until

from cryptoai_assets.lib.serving_counts import Counts, Look, counted, look_at_service, remembered

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def counts(answers: float, errors: float = 0.0, *, quick: float | None = None) -> Counts:
    """So many answers, all within half a second or, but the quick ones, within five."""
    return Counts(
        answers, errors, {"0.5": answers if quick is None else quick, "5.0": answers, "+Inf": answers}
    )


def test_service_tells_its_answers_and_errors_without_its_probes(tmp_path: Path) -> None:
    with platform_service(tmp_path) as url:
        before = look_at_service(url, None, timeout_seconds=30.0)
        assert before is not None
        for path, status in (("/readyz", 503), (f"/releases/{MODEL}", 404), ("/api/ml/status", 200)):
            assert httpx.get(f"{url}{path}", timeout=30.0).status_code == status
        unready = httpx.get(f"{url}/forecast/BTCUSDT", timeout=30.0)
        assert unready.status_code == 503

        def found() -> Counts:
            after = look_at_service(url, None, timeout_seconds=30.0)
            assert after is not None
            return after.since(before)

        # An answer is counted after it went out.
        wait_until(lambda: found().answers >= 3, "all answers are counted")
        assert (found().answers, found().errors, found().within["+Inf"]) == (3, 1, 3)
    assert look_at_service(url, None, timeout_seconds=1.0) is None


def test_answers_of_an_hour_are_known_across_a_restart_of_the_service(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    told = [counts(1_000, 10), counts(1_040, 12), counts(30, 1), counts(50, 5)]
    for minutes, count in zip((0, 2, 4, 6), told, strict=True):
        looks = remembered(path, count, NOW + minutes * MINUTE)
    # 40 before the restart, the 30 since it, and 20 more.
    assert counted(looks) == counts(90, 2 + 1 + 4)
    # What is older than an hour is forgotten.
    looks = remembered(path, counts(60, 5), NOW + 65 * MINUTE)
    assert [look.at for look in looks] == [NOW + 6 * MINUTE, NOW + 65 * MINUTE]


def test_looks_that_are_far_apart_say_nothing_of_the_last_hour() -> None:
    looks = [Look(NOW, counts(0)), Look(NOW + 31 * MINUTE, counts(500, 500))]
    assert counted(looks).answers == 0
    assert counted([]).answers == 0


def test_quantile_is_the_end_of_its_bucket() -> None:
    assert counts(100, quick=99).quantile_seconds(0.99) == 0.5
    assert counts(100, quick=98).quantile_seconds(0.99) == 5.0
    assert Counts(100, 0, {"0.5": 0, "+Inf": 100}).quantile_seconds(0.99) == float("inf")
    assert Counts(0, 0, {}).quantile_seconds(0.99) == 0.0
