"""Inputs made from inputs: bytes changed by the engine, words and parts of JSON by us."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

# A list or an object, and an index or a name in it.
Place = tuple[Any, Any]
# What parsers stumble over: no numbers, endless ones, far times, half a character, other digits than ours.
ODD_WORDS = (
    *("", "NaN", "Infinity", "1e999", "-1", "0", "1e-320", "²", "<1", "null", "\x00", '"'),
    *("9999-12-31", "0001-01-01", "9999-12-31T23:59:59.999Z", "253402300799", "9" * 5000),
    *("http://[", "https://x.test:99999/", "\ud800"),
)
ODD_PARTS: tuple[object, ...] = (
    *ODD_WORDS,
    *(None, True, 0, -1, 0.5, 10**30, -(10**18), 1e308, 5e-324, 253402300799000, [], {}, [[]]),
)
_WORD = re.compile(rb"[\w.+-]+")
_JSON = re.compile(rb"[\[{].*", re.DOTALL)


def mutated(data: bytes, most: int, seed: int, by_engine: Callable[[bytes, int], bytes]) -> bytes:
    """Another input, at most that many bytes."""
    chance = random.Random(seed)
    way = chance.choice((by_parts, by_parts, by_words, None))
    changed = way(data, chance) if way else None
    return by_engine(data, most) if changed is None or len(changed) > most else changed


def by_words(data: bytes, chance: random.Random) -> bytes | None:
    """Put an odd word in the place of one; None where there is none."""
    words = list(_WORD.finditer(data))
    if not words:
        return None
    word = chance.choice(words)
    odd = chance.choice(ODD_WORDS).encode("utf-8", "surrogatepass")
    return data[: word.start()] + odd + data[word.end() :]


def by_parts(data: bytes, chance: random.Random) -> bytes | None:
    """Change parts of the JSON of one line, or the lines; None where a line is no JSON."""
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    if len(lines) > 1 and chance.random() < 0.2:
        lines.insert(chance.randrange(len(lines)), lines[place])
        return b"\n".join(lines)
    told = _JSON.search(lines[place])
    if told is None:
        return None
    try:
        answer = json.loads(told[0])
        for _ in range(chance.choice((1, 1, 2, 5))):
            answer = _changed(answer, chance)
        lines[place] = lines[place][: told.start()] + json.dumps(answer).encode()
    except (ValueError, RecursionError):
        return None
    return b"\n".join(lines)


def _changed(answer: object, chance: random.Random) -> object:
    """Change one part: make it odd or another one's copy, tell it twice, or leave it out."""
    places = list(_places(answer))
    if not places or chance.random() < 0.02:
        return chance.choice(ODD_PARTS)
    holder, key = chance.choice(places)
    other_holder, other_key = chance.choice(places)
    copied = copy.deepcopy(other_holder[other_key])
    match chance.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copied)
        case 2:
            holder[key] = copied
        case _:
            holder[key] = copy.deepcopy(chance.choice(ODD_PARTS))
    return answer


def _places(answer: object) -> Iterator[Place]:
    keys = answer if isinstance(answer, dict) else range(len(answer)) if isinstance(answer, list) else ()
    for key in keys:
        yield answer, key
        yield from _places(answer[key])
