from __future__ import annotations

import pytest
from pydantic import ValidationError

from adwright.service.lm.protocol.body import HarmlessIn, LmBody


class Cup(LmBody):
    """With one field of its own."""

    size: int = 3


def test_a_null_is_a_field_that_is_not_there() -> None:
    assert Cup.model_validate({"size": None, "surprise": None}) == Cup()
    for wrong in ({"surprise": 1}, {"size": "x"}, 5):
        with pytest.raises(ValidationError):
            Cup.model_validate(wrong)


def test_harmless_fields_are_still_checked() -> None:
    assert HarmlessIn(user="u", store=False, metadata={"a": "b"}).user == "u"
    with pytest.raises(ValidationError):
        HarmlessIn.model_validate({"metadata": {str(n): "" for n in range(17)}})
