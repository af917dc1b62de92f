from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.training.run_settings import check_run_settings


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"threads": -1}, {"fit_seed": 1}])
def test_what_is_out_of_range_is_named(wrong: dict[str, int]) -> None:
    right = {"draws": 1, "threads": 0, "fit_seed": 0}
    check_run_settings(**right)
    (name,) = wrong
    with pytest.raises(ConfigError, match=name.replace("_", r"\.")):
        check_run_settings(**right | wrong)
