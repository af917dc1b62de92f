"""Instants as the store keeps them: whole microseconds since 1970, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adwright.core.errors import ValueInvalidError
from adwright.data.time import FIRST, LAST

__all__ = ["EPOCH", "FIRST", "LAST", "from_micros", "to_micros"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(time: datetime) -> int:
    """Microseconds from 1970 to `time`; a time without a zone is read as UTC.

    Raises ValueInvalidError for what is no datetime.
    """
    if not isinstance(time, datetime):
        raise ValueInvalidError(
            "a time must be a datetime", column="time", value=time, hint="pass datetime.now(UTC)"
        )
    aware = time.replace(tzinfo=UTC) if time.utcoffset() is None else time
    return (aware - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The instant `micros` microseconds after 1970, in UTC."""
    return EPOCH + timedelta(microseconds=micros)
