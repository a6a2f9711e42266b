"""Words of finance and crypto that lean to one side, counted; no library, and an answer at any time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_bundle.sentiment.method import Sentiment, of_polarity, plain_text

_POSITIVE = """
    accelerate accelerates accelerating accumulate accumulation adopt adopts adopted adoption advance advances
    approve approves approved approval attractive beat beats best better bid boom boost boosts boosted
    boosting
    bounce bounces breakout bull bulls bullish buy buying buys cheer cheers climb climbs climbed climbing
    comeback confident firm firms gain gains gained gainer gainers gaining good great green grow grows growing
    growth halving halvening high higher highs hodl improve improved improves inflow inflows jump jumps jumped
    jumping launch launches launched lifts lifted listing milestone moon mooning oversubscribed optimism
    optimistic outperform outperforms outperforming overweight partner partners partnership peak positive
    profit profits profitable rallied rallies rally rallying rebound rebounds rebounding record recover
    recovers recovered recovery resilient rise rises rising robust rocket rose shine shines skyrocket soar
    soars soared soaring spurt spurts spike spikes stabilise strength strengthen strengthens strong stronger
    success successful surge surges surged surging surpass surpasses tailwind top tops topped undervalued
    unlock upbeat upgrade upgrades upgraded upside upswing uptrend upturn win wins winner winning zoom zooms
"""
_NEGATIVE = """
    abandon abandons attack attacked ban banned bans bankrupt bankruptcy bear bears bearish bleed bleeding
    breach bubble bust capitulation caution cautious charged collapse collapses collapsed concern concerns
    correction crackdown crash crashed crashes crashing crisis cut cuts debacle decline declines declined
    declining default defaults delay delays delisted delisting dip dips disappoint disappoints disappointing
    down downbeat downgrade downgraded downgrades downside downtrend downturn drag drags drop dropped drops
    dropping dump dumped dumping ease eases exploit exploited fail failed fails fall fallen falling falls fear
    fears fell fine fined flee fraud fud gloom hack hacked hacker hackers halt halted halts headwind headwinds
    hit hits hurt investigation jitters lawsuit liquidated liquidation liquidations lose loses losing loss
    losses loser losers lost low lower lows miss misses missed negative outflow outflows panic penalty
    plummet plummets plunge plunges plunged plunging ponzi poor pressure probe pullback red reject rejected
    rejects risk risks rout rug scam scams selloff sell selling sells shed sheds shut shutdown sink sinks
    slash slashed slashes slide slides sliding slip slips slipped slow slowdown slows slump slumps slumped
    sour stolen struggle struggles struggling stuck sued suffer suffers suspend suspended suspends tank tanks
    tanking theft threat tough trim trims trouble tumble tumbled tumbles tumbling turmoil underperform
    underperforms underweight volatile volatility vulnerable warn warning warns weak weaken weakens weaker
    weakness weigh weighs woe woes worry worries worst wipe wiped
"""
_NEGATIONS = "no not never neither nor without cannot can't won't don't doesn't didn't isn't aren't wasn't"
POSITIVE, NEGATIVE, NEGATIONS = (frozenset(words.split()) for words in (_POSITIVE, _NEGATIVE, _NEGATIONS))
# Words after a negation that it turns.
REACH = 3
_WORD = re.compile(r"[a-z']+")


@dataclass(frozen=True, slots=True)
class KeywordSentiment:
    """Words on the positive side against those on the negative side; a `SentimentMethod`.

    A word at most `REACH` words after a negation counts for the other side.
    """

    name: str = "keywords"
    version: str = "1"

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        """See `SentimentMethod.scores`."""
        return [of_polarity(_polarity(text), method=self.name, version=self.version) for text in texts]


def _polarity(text: str) -> float:
    """Difference of the two sides over all that lean, and one more, so that many words say more than one."""
    words = _WORD.findall(plain_text(text).lower().replace("’", "'"))
    sides = [
        (word in POSITIVE) - (word in NEGATIVE)
        if NEGATIONS.isdisjoint(words[max(0, place - REACH) : place])
        else (word in NEGATIVE) - (word in POSITIVE)
        for place, word in enumerate(words)
    ]
    return sum(sides) / (sum(map(abs, sides)) + 1)
