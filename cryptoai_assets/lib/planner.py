"""The planner, which knows no Dagster: what a result is made of, and which results are out of date."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.store import Place, content_fingerprint


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one result (an asset, or one partition of it) reads and writes.

    Parameters
    ----------
    reads
        Files by a name that is the same on every machine; an absent file is part of the fingerprint too.
    writes
        Files that exist when the result does.
    settings
        What JSON can hold.
    code
        Modules, or packages with all below them, whose change may change the result.
    """

    reads: Mapping[str, Place]
    writes: tuple[Place, ...]
    settings: Mapping[str, Any]
    code: tuple[str, ...]

    def fingerprint(self) -> str:
        """SHA-256 over data, settings and code, as they are now."""
        return settings_fingerprint(
            {
                "data": _contents(self.reads),
                "settings": settings_fingerprint(self.settings),
                "code": code_fingerprint(*self.code),
            }
        )

    def content(self) -> str:
        """SHA-256 over the content hashes of what was written."""
        return settings_fingerprint({"files": [content_fingerprint(path) for path in self.writes]})

    def is_made(self) -> bool:
        """Whether everything that it writes is there."""
        return all(path.is_file() for path in self.writes)


def stale_keys(wanted: Mapping[str, str], recorded: Mapping[str, str]) -> list[str]:
    """Keys, in their order, whose recorded fingerprint is absent or another one than wanted."""
    return [key for key, fingerprint in wanted.items() if recorded.get(key) != fingerprint]


def out_of_date(recipes: Mapping[str, Recipe], recorded: Mapping[str, str]) -> list[str]:
    """Keys of results that are not there, or were made of other data, settings or code."""
    wanted = {key: recipe.fingerprint() for key, recipe in recipes.items()}
    there = {key: mark for key, mark in recorded.items() if key in recipes and recipes[key].is_made()}
    return stale_keys(wanted, there)


def together(stale: Iterable[str], every: Iterable[str]) -> list[tuple[str, str]]:
    """First and last key of each run that is needed: one over all keys when all are stale, else one a key."""
    keys, known = list(stale), list(every)
    if len(keys) > 1 and set(keys) == set(known):
        return [(known[0], known[-1])]
    return [(key, key) for key in keys]


def _contents(files: Mapping[str, Place]) -> dict[str, str]:
    return {name: content_fingerprint(path) if path.is_file() else "absent" for name, path in files.items()}
