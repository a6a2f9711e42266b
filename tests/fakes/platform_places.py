"""What the gate, the ledger, MLflow and the releases say of one market, held against each other."""

import json
from pathlib import Path

from cryptoai_assets.defs.release.recipes import DECISION_NAME
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.candidate import Candidate, bundle_folder
from cryptoai_assets.lib.tracking import CHALLENGER, CHAMPION
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import read_channel, release_folder


def places_disagreeing(root: Path) -> list[str]:
    """Sentences that should be true of a root in which everything was made, and are not."""
    home = MarketResource(name="sample", root=str(root)).home
    model, tracking, ledger = home.market.model, home.tracking, home.ledger
    candidate = Candidate.read(home.candidate)
    decision = json.loads((home.candidate / DECISION_NAME).read_bytes())
    champion, challenger = tracking.alias(model, CHAMPION), tracking.alias(model, CHALLENGER)
    channel = read_channel(home.releases, model)
    released = channel.champion if channel else None
    decided = [e for e in ledger.entries(model) if e.kind in ("promotion", "refusal", "rollback")]
    promoted = [e for e in decided if e.kind in ("promotion", "rollback")]
    newest = tracking.versions(model)[-1]
    sentences = {
        "the candidate is the newest version": candidate.version == newest.version,
        "the candidate's bundle is the registered one": newest.bundle_sha256
        == candidate.bundle_digest
        == Forecaster.load(bundle_folder(home.candidate)).digest,
        "the challenger is the newest version": challenger == newest,
        "the decision is about the candidate": decision["version"] == candidate.version,
        "the ledger's last verdict is about the candidate": decided[-1].version == candidate.version,
        "the ledger's last verdict is the gate's": (decided[-1].kind == "promotion") == decision["promote"],
        "no intent is open": ledger.open_intents() == [],
        "the champion in MLflow is the last version that was promoted": champion is not None
        and champion.version == promoted[-1].version,
        "the released version is the champion": released is not None
        and champion is not None
        and (released.version, released.sha256) == (champion.version, champion.bundle_sha256),
        "the release folder holds the released bytes": released is not None
        and Forecaster.load(release_folder(home.releases, model, released.version)).digest == released.sha256,
    }
    return [sentence for sentence, holds in sentences.items() if not holds]
