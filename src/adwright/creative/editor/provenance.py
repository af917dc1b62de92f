"""Content credentials: a signed statement, inside the picture's file, of what was done to it.

    signed = with_credentials(original, edited, statement, key)     # bytes of a file
    read_credentials(signed)                                        # Credentials: valid, ...

The statement is a C2PA manifest, made, signed and read by `c2pa-python`. It names the original as
its parent, lists the edits as actions (c2pa.color_adjustments, c2pa.cropped, c2pa.edited ...), says
the digital source type of each action, and binds all that to the bytes of the file: a pixel that is
changed afterwards is found. No time is asked of a server, so nothing is sent anywhere; no thumbnail
of the original is kept.

A statement can be cut out of a file, and then nothing is left to read: `read_credentials` says
"none". Whether such a picture is one of ours, the log of edits knows by its pixels.

What a picture and a face in it are called: hashes of pixels, whatever file holds them.

    picture_hash(picture)         # of its size and its pixels
    overlap(box, other)           # how much two boxes share, 0 to 1

A file's hash would change with every saving; that of the pixels stays where nothing is lost. A
face is named by its picture's hash and its box: a box that a detector finds again is a little
different each time, so boxes are compared by overlap.

A label that people see: the picture says itself that a model changed it.

    labelled(picture, context)                  # "Edited with AI", in a corner that is free

And the sentence that stands beside every predicted gain: ESTIMATE.

Keys that sign statements about pictures.

    key = read_signing_key("chain.pem", "key.pem")      # of a certificate authority, or your own
    key = made_test_key(clock)                          # for trials: nobody trusts it

The certificate is an X.509 chain in PEM, the signer's first; C2PA asks for a key usage of digital
signature and an extended one such as e-mail protection. The private key is PKCS #8 in PEM. It is
read from a file that nobody else may read, is never shown by `repr`, and never written or logged.

IPTC's digital source type, in the picture's XMP: a tag that any reader of metadata finds.

    data = tagged(picture, "PNG")              # bytes of a file that says how it was made

The value is a term of IPTC's NewsCodes, http://cv.iptc.org/newscodes/digitalsourcetype/: a picture
of which a part was made by a trained model is compositeWithTrainedAlgorithmicMedia; one whose
light, frame or words alone were changed is algorithmicallyEnhanced. A tag is easily lost and easily
forged; the signed statement is not, see content_credentials.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, DataError, FileUnreadableError, needing
from adwright.core.regular import read_regular
from adwright.core.version import __version__
from adwright.creative.editor.edit_kinds import EditContext
from adwright.creative.editor.edit_plan import AnyEdit, EditPlan, TextOverlay
from adwright.creative.faces.aligning import require_picture

#: Left, top, right and bottom in pixels, edges as in slices.
Box = tuple[int, int, int, int]


def picture_hash(picture: NDArray[np.uint8]) -> str:
    """SHA-256, 64 hexadecimal digits, of the size and the pixels of a picture uint8 [H, W, 3]."""
    require_picture(picture)
    digest = hashlib.sha256(f"{picture.shape[0]} x {picture.shape[1]} RGB\n".encode())
    digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def overlap(one: Box, other: Box) -> float:
    """What two boxes share, over their union: 0 apart, 1 alike."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0, width) * max(0, height)
    areas = sum(max(0, b[2] - b[0]) * max(0, b[3] - b[1]) for b in (one, other))
    return both / (areas - both) if areas > both else 0.0


ESTIMATE = "model estimate, not a measured effect"
LABEL = "Edited with AI"
_CORNERS = ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0))


def labelled(picture: NDArray[np.uint8], context: EditContext | None = None) -> NDArray[np.uint8]:
    """The picture uint8 [H, W, 3] with the label, on a plate, in the corner where it has to move
    least to be clear of what is protected and of faces.

    Raises DataError where there is no room: a label that is not seen is none.
    """
    context = context or EditContext()
    context.require_size_of(picture)
    high, wide = picture.shape[:2]
    best: tuple[float, TextOverlay] | None = None
    for x, y in _CORNERS:
        overlay = TextOverlay(LABEL, x=x, y=y, size=0.04, opacity=1.0, contrast=0.7)
        box = overlay.box(picture, context)
        if box is None:
            continue
        left, top, right, bottom = box
        away = abs(left - x * (wide - right + left)) + abs(top - y * (high - bottom + top))
        if best is None or away < best[0]:
            best = (away, overlay)
    if best is None:
        raise DataError(
            f"there is no room for the label {LABEL!r}",
            value=(wide, high),
            hint="use a larger picture",
        )
    return best[1].apply(picture, context)


#: As C2PA names them: ECDSA, RSA-PSS and Ed25519.
Algorithm = Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]
_MOST_BYTES = 1 << 20
_TEST_DAYS = 30


@settings
class SigningKey:
    """chain: certificates in PEM, the signer's first. private: its key in PEM, kept out of repr."""

    chain: bytes
    private: bytes = field(repr=False)
    algorithm: Algorithm = "es256"

    def __post_init__(self) -> None:
        for name, value, word in (
            ("chain", self.chain, b"-----BEGIN CERTIFICATE-----"),
            ("private", self.private, b"PRIVATE KEY-----"),
        ):
            if word not in value:
                # The value itself is not shown: it may be the other one of the two.
                raise ConfigError(
                    f"{name} is not in PEM", where=f"SigningKey.{name}", hint="convert it to PEM"
                )


def read_signing_key(
    chain: str | Path, private: str | Path, algorithm: Algorithm = "es256"
) -> SigningKey:
    """The key of two files. Raises ConfigError where one cannot be read, is not in PEM, or where
    others than its owner may read the private key."""
    found = []
    for path, secret in ((chain, False), (private, True)):
        try:
            data = read_regular(path, most=_MOST_BYTES)
            mode = os.stat(path).st_mode
        except OSError as error:
            raise ConfigError(
                f"the file cannot be read: {error.strerror}",
                where=str(path),
                hint="it must be a plain file that you may read",
            ) from error
        if secret and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                "others may read the private key", where=str(path), hint=f"chmod 600 {path}"
            )
        found.append(data)
    return SigningKey(found[0], found[1], algorithm)


def made_test_key(clock: Clock) -> SigningKey:
    """A key with a certificate of 30 days, of an authority made for it alone; its names say that it
    is a test. Signatures of it are valid, and trusted by nobody. Raises MissingExtraError."""
    with needing("signed statements about pictures", "creative"):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID
    root, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name.from_rfc4514_string("CN=adwright test authority,O=adwright test")
    subject = x509.Name.from_rfc4514_string("CN=adwright test\\, not to be trusted,O=adwright test")
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
    signs = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    now, day, chain = clock.now(), timedelta(days=1), b""
    for name, key in ((subject, signer), (issuer, root)):
        own = key is root
        usage = x509.KeyUsage(
            digital_signature=not own,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=own,
            crl_sign=own,
            encipher_only=False,
            decipher_only=False,
        )
        key_name = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        made = (
            x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + _TEST_DAYS * day)
            .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(key_name, critical=False)
            .add_extension(authority_key, critical=False)
        )
        made = made if own else made.add_extension(signs, critical=False)
        chain += made.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = signer.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningKey(chain, private)


SourceType = Literal["compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced"]
FileFormat = Literal["PNG", "JPEG", "WEBP"]

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_PNG_KEY = "XML:com.adobe.xmp"
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="{value}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def tagged(
    picture: NDArray[np.uint8],
    form: FileFormat = "PNG",
    source: SourceType = "compositeWithTrainedAlgorithmicMedia",
) -> bytes:
    """The bytes of a file of the picture uint8 [H, W, 3], with the tag. PNG and WEBP lose nothing;
    JPEG has quality 95, without colour subsampling. Raises ConfigError for another format."""
    require_picture(picture)
    with needing("files of pictures", "creative"):
        from PIL.Image import fromarray
        from PIL.PngImagePlugin import PngInfo
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


State = Literal["trusted", "valid", "invalid", "none"]
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
#: C2PA's own names of what the edits do.
_ACTIONS = {
    "exposure": "c2pa.color_adjustments",
    "contrast": "c2pa.color_adjustments",
    "saturation": "c2pa.color_adjustments",
    "temperature": "c2pa.color_adjustments",
    "crop": "c2pa.cropped",
    "background_blur": "c2pa.filtered",
    "text": "c2pa.drawing",
    "face_move": "c2pa.edited",
}
_LABEL = "org.adwright.edit"
_UNTRUSTED = "signingCredential.untrusted"
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}


@dataclass(frozen=True)
class EditStatement:
    """plan: what was done. title: of the picture. model: id of the model of faces. approver: who
    let it pass. log_head: the last seal of the log of edits, see `edit_log`."""

    plan: EditPlan
    title: str = "ad"
    model: str = ""
    approver: str = ""
    log_head: str = ""


@settings
class Credentials:
    """state: "trusted" (signed by somebody on the trust list), "valid" (whole, by somebody who is
    not), "invalid" (changed after it was signed), "none". actions: their C2PA names. source_types:
    of them, NewsCodes' terms. problems: codes of C2PA. details: what `org.adwright.edit` says."""

    state: State
    issuer: str = ""
    actions: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether nothing was changed since it was signed."""
        return self.state in ("trusted", "valid")


def with_credentials(
    original: bytes, edited: bytes, statement: EditStatement, key: SigningKey
) -> bytes:
    """The file `edited` with a signed statement that it was made of the file `original`.

    Both PNG, JPEG or WEBP. Statements that the original carries stay part of the new one. Raises
    ConfigError where the key cannot sign, FileUnreadableError where a file cannot be read.
    """
    c2pa = _library()
    kinds = [_type_of(data, name) for data, name in ((original, "original"), (edited, "edited"))]
    info = c2pa.C2paSignerInfo(
        alg=key.algorithm, sign_cert=key.chain, private_key=key.private, ta_url=None
    )
    out = io.BytesIO()
    try:
        context = c2pa.Context.from_dict(_SETTINGS)
        with c2pa.Builder(_manifest(statement, kinds[1]), context=context) as builder:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            parent = json.dumps({"title": "original", "relationship": "parentOf"})
            builder.add_ingredient(parent, kinds[0], io.BytesIO(original))
            with c2pa.Signer.from_info(info) as signer:
                builder.sign(signer, kinds[1], io.BytesIO(edited), out)
    except c2pa.C2paError as error:
        # Of what the library says nothing but the kind is passed on: it may quote the key.
        raise ConfigError(
            f"the statement cannot be signed ({type(error).__name__.lstrip('_')})",
            where="with_credentials",
            hint="check that certificate, key and algorithm belong together, and the files",
        ) from None
    return out.getvalue()


def read_credentials(data: bytes) -> Credentials:
    """What the statement in a file says, and whether it is whole. Raises FileUnreadableError for
    what is neither PNG, JPEG nor WEBP."""
    c2pa = _library()
    kind = _type_of(data, "picture")
    try:
        with c2pa.Reader(kind, io.BytesIO(data)) as reader:
            told, state = json.loads(reader.json()), str(reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials("none")
    except c2pa.C2paError as error:
        return Credentials("invalid", problems=(type(error).__name__.lstrip("_"),))
    active = told["manifests"].get(told.get("active_manifest", ""), {})
    actions: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for one in active.get("assertions", ()):
        if one["label"].startswith("c2pa.actions"):
            actions += one["data"].get("actions", ())
        elif one["label"] == _LABEL:
            details = one["data"]
    problems = tuple(one["code"] for one in told.get("validation_status", ()))
    sources = (one.get("digitalSourceType", "") for one in actions)
    said = state.lower()
    if said != "trusted":
        said = "valid" if said == "valid" and set(problems) <= {_UNTRUSTED} else "invalid"
    return Credentials(
        said,  # type: ignore[arg-type]
        active.get("signature_info", {}).get("issuer") or "",
        tuple(one["action"] for one in actions),
        tuple(one.removeprefix(SOURCE_TYPES) for one in sources if one),
        problems,
        details,
    )


def _manifest(statement: EditStatement, kind: str) -> str:
    shown = [edit for edit in statement.plan.edits if not edit.is_neutral()]
    actions = [_action(edit) for edit in shown]
    details = {
        "plan": to_jsonable(statement.plan),
        "plan_digest": statement.plan.digest,
        "model": statement.model,
        "approver": statement.approver,
        "log_head": statement.log_head,
    }
    return json.dumps(
        {
            "claim_generator_info": [{"name": "adwright", "version": __version__}],
            "title": statement.title,
            "format": kind,
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": actions}},
                {"label": _LABEL, "data": details},
            ],
        }
    )


def _action(edit: AnyEdit) -> dict[str, Any]:
    made = edit.kind == "face_move"
    source = "compositeWithTrainedAlgorithmicMedia" if made else "algorithmicallyEnhanced"
    return {
        "action": _ACTIONS[edit.kind],
        "digitalSourceType": SOURCE_TYPES + source,
        "parameters": {"org.adwright.edit": to_jsonable(edit)},
    }


def _type_of(data: bytes, name: str) -> str:
    for mark, kind in _TYPES.items():
        if data.startswith(mark):
            return kind
    raise FileUnreadableError(
        "this is no picture that can be signed", file=name, hint="pass PNG, JPEG or WEBP"
    )


def _library() -> Any:
    with needing("signed statements about pictures", "creative"):
        import c2pa
    return c2pa
