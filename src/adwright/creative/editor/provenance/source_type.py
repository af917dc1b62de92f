"""IPTC's digital source type, in the picture's XMP: a tag that any reader of metadata finds.

    data = tagged(picture, "PNG")              # bytes of a file that says how it was made
    digital_source_type(data)                  # "compositeWithTrainedAlgorithmicMedia"

The value is a term of IPTC's NewsCodes, http://cv.iptc.org/newscodes/digitalsourcetype/: a picture
of which a part was made by a trained model is compositeWithTrainedAlgorithmicMedia; one whose
light, frame or words alone were changed is algorithmicallyEnhanced. A tag is easily lost and easily
forged; the signed statement is not, see content_credentials.py.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError
from adwright.creative.faces.aligning import require_picture

__all__ = ["SOURCE_TYPES", "FileFormat", "SourceType", "digital_source_type", "tagged"]

SourceType = Literal["compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced"]
FileFormat = Literal["PNG", "JPEG", "WEBP"]

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_PNG_KEY = "XML:com.adobe.xmp"
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="{value}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
#: As an attribute, or as an element; in single or double quotes.
_FOUND = re.compile(
    r"Iptc4xmpExt:DigitalSourceType\s*(?:=\s*[\"']|>\s*)"
    r"http://cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{1,64})"
)
_MOST_BYTES = 256 << 20


def tagged(
    picture: NDArray[np.uint8],
    form: FileFormat = "PNG",
    source: SourceType = "compositeWithTrainedAlgorithmicMedia",
) -> bytes:
    """The bytes of a file of the picture uint8 [H, W, 3], with the tag. PNG and WEBP lose nothing;
    JPEG has quality 95, without colour subsampling. Raises ConfigError for another format."""
    require_picture(picture)
    try:
        from PIL.Image import fromarray
        from PIL.PngImagePlugin import PngInfo
    except ImportError as error:
        raise MissingExtraError("files of pictures", "creative") from error
    packet, out = _PACKET.format(value=SOURCE_TYPES + source), io.BytesIO()
    image = fromarray(np.ascontiguousarray(picture))
    match form:
        case "PNG":
            info = PngInfo()
            info.add_itxt(_PNG_KEY, packet)
            image.save(out, "PNG", pnginfo=info)
        case "JPEG":
            image.save(out, "JPEG", quality=95, subsampling=0, xmp=packet.encode("utf-8"))
        case "WEBP":
            image.save(out, "WEBP", lossless=True, xmp=packet.encode("utf-8"))
        case _:
            raise ConfigError(f"no such format {form!r}", where="form", hint="PNG, JPEG or WEBP")
    return out.getvalue()


def digital_source_type(data: bytes) -> str:
    """The term that a file is tagged with; empty where there is none.

    Raises FileUnreadableError where it is no picture that is read. The XML is not parsed, so
    nothing in it can do harm: the term is looked for.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("files of pictures", "creative") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if len(data) > _MOST_BYTES:
                raise ValueError(f"it has {len(data):,} bytes")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
                info = dict(image.info)
    except Exception as error:  # of damaged bytes, Pillow raises whatever they lead to
        raise FileUnreadableError(
            f"this picture cannot be read: {error}", hint="PNG, JPEG and WEBP are read"
        ) from error
    packet = info.get("xmp") or info.get(_PNG_KEY) or ""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    found = _FOUND.search(text)
    return found.group(1) if found else ""
