"""Studies: a database that cannot be had is named with its cure."""

import pytest

from cryptoai_assets.lib.studies import Studies, StudiesError


def test_database_without_a_driver_is_refused_with_the_cure() -> None:
    studies = Studies("oracle+cx_oracle://nobody@127.0.0.1/studies")
    with pytest.raises(StudiesError, match="psycopg"), studies.opened():
        pass
