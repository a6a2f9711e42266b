"""An alert as the platform raises it."""

from datetime import UTC, datetime

from edge_bundle.alerts import Alert

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
DRIFT = Alert(
    cause="retrain:cryptoai-forecaster-sample:2019-09-30T00:00",
    severity="critical",
    title="Drift in sample: retrain",
    summary="2 of 40 features drifted, for 3 windows in a row",
    facts=(("return_1", "PSI 0.42, threshold 0.12"), ("volume_ratio_60", "PSI 0.31, threshold 0.20")),
    links=(("Dagster run", "http://127.0.0.1:3000/runs/7"),),
    raised_at=NOW,
)
