from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from adwright.service.lm.protocol.schemas import HarmlessIn, JsonObject, LmBody


class Cup(LmBody):
    """With one field of its own."""

    size: int = 3


def test_a_null_is_a_field_that_is_not_there() -> None:
    assert Cup.model_validate({"size": None, "surprise": None}) == Cup()
    for wrong in ({"surprise": 1}, {"size": "x"}, 5):
        with pytest.raises(ValidationError):
            Cup.model_validate(wrong)


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_an_object_holds_finite_numbers(number: str) -> None:
    body: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)
    assert body.validate_json('{"a": [1e99]}') == {"a": [1e99]}
    with pytest.raises(ValidationError, match="beyond"):
        body.validate_json(f'{{"a": [{number}]}}')


def test_harmless_fields_are_still_checked() -> None:
    assert HarmlessIn(user="u", store=False, metadata={"a": "b"}).user == "u"
    with pytest.raises(ValidationError):
        HarmlessIn.model_validate({"metadata": {str(n): "" for n in range(17)}})
