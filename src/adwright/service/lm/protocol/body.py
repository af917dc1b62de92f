"""What all bodies of the OpenAI-compatible endpoints have in common."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _finite(given: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(given, allow_nan=False)
    except ValueError:
        raise ValueError("a number in it is beyond what a computer holds") from None
    return given


#: An object that may be told again, such as a schema. 1e999 is JSON, and no number of ours.
JsonObject = Annotated[dict[str, Any], AfterValidator(_finite)]


class LmBody(BaseModel):
    """Unknown fields are refused, never ignored; a null is a field that is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class HarmlessIn(LmBody):
    """Fields that frameworks send and that change no answer: they are for who bills, logs, stores
    or caches, which this service does not."""

    user: str | None = None
    store: bool | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
