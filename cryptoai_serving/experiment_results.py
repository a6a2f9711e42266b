"""What the platform told of the newest experiment: how far it is, or what it showed."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptoai_serving.errors import StoreUnavailableError

# In the folder of what the platform tells of a market.
RESULT_PLACE = Path("monitoring") / "experiment.json"


@dataclass(frozen=True, slots=True)
class ToldResult:
    """Of one experiment.

    Parameters
    ----------
    recommendation
        ``running`` or ``stopped`` without a verdict, or the verdict.
    effect, lower, upper
        Mean loss of the challenger less that of the control, with its interval; None without a verdict.
    ended_at
        When somebody ended it; None where nobody did.
    """

    name: str
    recommendation: str
    times: int
    times_needed: int
    users: dict[str, int]
    sample_ratio_p: float | None
    effect: float | None
    lower: float | None
    upper: float | None
    ended_at: datetime | None


def told_result(told: Path) -> ToldResult | None:
    """Read the newest result; None before the first.

    Raises
    ------
    StoreUnavailableError
        When it cannot be read.
    """
    try:
        record = json.loads((told / RESULT_PLACE).read_bytes())
        result: dict[str, Any] = record["result"]
        effect, ended = result["effect"] or {}, record.get("ended")
        return ToldResult(
            **{name: result[name] for name in ("name", "recommendation", "times", "times_needed")},
            users=result["users"],
            sample_ratio_p=result["sample_ratio_p"],
            effect=effect.get("value"),
            lower=effect.get("lower"),
            upper=effect.get("upper"),
            ended_at=datetime.fromisoformat(ended["ended_at"]) if ended else None,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreUnavailableError(
            f"the result of the experiment cannot be read: {type(error).__name__}",
            cure="materialize experiment_results",
        ) from error
