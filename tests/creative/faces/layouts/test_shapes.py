import pytest

from adwright.core.errors import ConfigError
from adwright.creative.faces.layouts.shapes import config_of, require_filter, require_square


def test_the_rule_of_the_channels_is_found() -> None:
    ffhq = {side: min(32768 // side, 512) for side in (4, 8, 16, 32, 64, 128, 256, 512, 1024)}
    config = config_of(ffhq, 512, 8)
    assert (config.side, config.base, config.most, config.rows) == (1024, 32768, 512, 18)
    half = config_of({side: min(16384 // side, 512) for side in (4, 8, 16, 32, 64, 128)}, 512, 8)
    assert (half.base, half.most) == (16384, 512)
    flat = config_of({4: 16, 8: 16, 16: 16}, 8, 2)
    assert (flat.base, flat.most, flat.wide, flat.layers) == (256, 16, 8, 2)
    with pytest.raises(ConfigError, match="channels"):
        config_of({4: 16, 8: 7, 16: 8}, 8, 2)


def test_mappings_and_filters_of_another_form() -> None:
    require_square(8, 8, "fc")
    with pytest.raises(ConfigError, match="8 numbers of 9"):
        require_square(8, 9, "fc")
    taps = (1.0, 3.0, 3.0, 1.0)
    for gain in (1.0, 4.0):
        require_filter([[a * b * gain for b in taps] for a in taps], "kernel")
    for wrong in ([[1.0] * 4] * 4, [[1.0, 2.0, 1.0]] * 3, [[1.0, 3.0, 3.0, 1.0]] * 3):
        with pytest.raises(ConfigError, match="filtered"):
            require_filter(wrong, "kernel")
