"""The store of facts: rows are added and never changed, so that the past can be read as it was known."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import polars as pl

from cryptoai_assets.lib.store import MonthlyStore, Place, read_stored_parquet, write_parquet_atomically
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import FACT_SCHEMA, validated_facts

# What a fact is about; its versions differ in value and in when they were known.
EVENT = ("symbol", "event_time", "source", "name")
_IN_ORDER = ("name", "symbol", "event_time", "source", "known_at")


@dataclass(frozen=True, slots=True)
class FactStore:
    """Facts of many sources under one folder, on disk or on S3: one Parquet file per source and month.

    The month is that of the event, so that all versions of an event lie in one file. Each file is replaced
    whole; what a killed run did not write is new again when it is appended again. One process at a time
    appends to a source.
    """

    root: Place

    @property
    def _files(self) -> MonthlyStore:
        return MonthlyStore(self.root, "event_time", FACT_SCHEMA)

    def append(self, facts: pl.DataFrame, *, fetched_at: datetime) -> pl.DataFrame:
        """Add what is new, and return it: see `new_versions`.

        Parameters
        ----------
        fetched_at
            When the source said it: what contradicts the versions that are held is known from then on, not
            from when the source dates it, for before it had said otherwise.

        Raises
        ------
        FactsRefusedError
            When the frame breaks the contract of facts; nothing is stored then.
        """
        month = pl.col("event_time").dt.strftime("%Y-%m").alias("month")
        parts = (
            validated_facts(facts).sort("source", "event_time").group_by("source", month, maintain_order=True)
        )
        added = [facts.clear()]
        for (source, month_of_events), rows in parts:
            folder, file = _folder_name(str(source)), str(month_of_events)
            held = self._files.month_or_empty(folder, file)
            new = new_versions(held, _dated(held, rows, fetched_at))
            if new.height:
                self._files.write(
                    folder,
                    file,
                    pl.concat([held, new.select(held.columns)]).sort(_IN_ORDER, maintain_order=True),
                )
                added.append(new)
        return pl.concat(added)

    def live_since(self, source: str) -> datetime | None:
        """When a source was first asked; None when it never was."""
        path = self._first_asked / f"{_folder_name(source)}.parquet"
        return read_stored_parquet(path)["asked_at"][0] if path.is_file() else None

    def went_live(self, source: str, asked_at: datetime) -> datetime:
        """Note when a source was asked, and return when it first was, which stays."""
        first = self.live_since(source)
        if first is None:
            note = pl.DataFrame({"asked_at": [asked_at]}, schema={"asked_at": UTC_MICROSECONDS})
            write_parquet_atomically(note, self._first_asked / f"{_folder_name(source)}.parquet")
        return first or asked_at

    def _folders(self) -> list[str]:
        """Folders of the sources; none of their names begins with a dot."""
        return [folder for folder in self._files.symbols() if not folder.startswith(".")]

    @property
    def _first_asked(self) -> Place:
        return self.root / ".first_asked"

    def files(self, until: str) -> dict[str, Place]:
        """Every stored file by ``facts/source/month``, up to a month (``YYYY-MM``)."""
        every = self._files.files(self._folders())
        return {name: path for name, path in every.items() if path.stem <= until}

    def read(
        self,
        names: Collection[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        known_by: datetime | None = None,
        source: str | None = None,
    ) -> pl.DataFrame:
        """Facts of these names with ``start <= event_time < end``, in every version known by then.

        Parameters
        ----------
        known_by
            Included; None is everything that is known today.
        source
            Of which they are read; None reads all.

        Returns
        -------
        DataFrame
            In `edge_bundle.facts.FACT_SCHEMA`, sorted by name, symbol, event and the time it was known.
        """
        folders = self._folders() if source is None else [_folder_name(source)]
        facts = self._files.read(folders, start, end)
        asked = pl.col("name").is_in(list(names))
        if known_by is not None:
            asked &= pl.col("known_at") <= known_by
        return facts.filter(asked).sort(_IN_ORDER, maintain_order=True)


def _dated(held: pl.DataFrame, facts: pl.DataFrame, fetched_at: datetime) -> pl.DataFrame:
    """Facts of which those that contradict what is held are known no earlier than `fetched_at`.

    The newest version that the source tells of an event contradicts the newest one held when their values
    differ; an older version does when its value is not held at all.
    """
    versions = held.sort("known_at", maintain_order=True).group_by(EVENT)
    last = versions.agg(_values=pl.col("value"), _newest=pl.col("value").last())
    told = facts.sort("known_at", maintain_order=True)
    told = told.join(last, on=EVENT, how="left", nulls_equal=True, maintain_order="left")
    is_newest = pl.int_range(pl.len(), 0, -1).over(EVENT) == 1
    is_held = pl.col("value").is_in(pl.col("_values"), nulls_equal=True)
    unheard = pl.when(is_newest).then(pl.col("value").ne_missing(pl.col("_newest"))).otherwise(~is_held)
    contradicts = pl.col("_values").is_not_null() & unheard
    later = pl.max_horizontal("known_at", pl.lit(fetched_at, UTC_MICROSECONDS))
    return told.with_columns(known_at=pl.when(contradicts).then(later).otherwise("known_at")).select(
        facts.columns
    )


def _folder_name(source: str) -> str:
    return quote(source, safe=" ").replace(".", "%2E")


def new_versions(held: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Those of `facts` that say something new.

    A fact whose value is the one that was known already is a repeat and is left out, so that the first
    ``known_at`` stands; a value that returns after another one is a new version. What is held is never
    taken back: an earlier ``known_at`` for a held value is a repeat too.
    """
    every = pl.concat([held.with_columns(held=True), facts.select(held.columns).with_columns(held=False)])
    # Of versions known at one time the held one comes first, then the others as they came.
    every = every.sort(*EVENT, "known_at", ~pl.col("held"), maintain_order=True)
    same_value = pl.struct(*EVENT, "value").rle_id()
    first = pl.int_range(pl.len()).over(same_value) == 0
    new = ~pl.col("held") & first & ~pl.col("held").any().over(same_value)
    return every.filter(new).drop("held")
