from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import ConfigError, DataError, FileUnreadableError
from adwright.creative.editor.provenance.source_type import digital_source_type, tagged
from tests.support.creative.drawn_ads import saved
from tests.support.creative.edited_pictures import scene


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "source", ["compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced"]
)
def test_the_tag_is_found_in_every_format(form: str, source: str) -> None:
    data = tagged(scene(), form, source)  # type: ignore[arg-type]
    assert digital_source_type(data) == source
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == form
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels - scene()).max() <= (0 if form != "JPEG" else 40)


def test_other_tools_write_it_as_an_element() -> None:
    packet = (
        "<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/"
        "digitalCapture</Iptc4xmpExt:DigitalSourceType>"
    )
    data = saved(Image.fromarray(scene()), "JPEG", xmp=packet.encode())
    assert digital_source_type(data) == "digitalCapture"


def test_no_tag_and_no_picture() -> None:
    assert digital_source_type(saved(Image.fromarray(scene()))) == ""
    for data in (b"", b"no picture", tagged(scene())[:40]):
        with pytest.raises(FileUnreadableError, match="cannot be read"):
            digital_source_type(data)
    with pytest.raises(ConfigError, match="format"):
        tagged(scene(), "TIFF")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="picture"):
        tagged(np.zeros((3, 3), np.uint8))
