"""Sign a certificate with Ed25519, and check one that somebody else has signed.

    key = make_key("audit.pem")                          # or read_key("audit.pem")
    write_signed(certificate, key, "kettles.json")
    read_signed("kettles.json", public_key=...)          # raises where anything was changed

The file is JSON: {"certificate": {...}, "signature": {"algorithm", "public_key", "value"}}, key and
value in hexadecimal. Signed are the bytes of the certificate as JSON with sorted keys, without
blanks, in ASCII. A third party needs none of this package: `verifier_source` is a script of 50
lines on the standard library and `cryptography`, which checks the signature and computes every
bound again.

A signature says who states the scores, and that nobody has changed them since. Whose key it is has
to be known from elsewhere.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.audit.certificate.certificate import RankCertificate, read_certificate
from adwright.core.atomic import atomic_write_text, resource_error
from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    MissingExtraError,
    ResourceError,
    ValueInvalidError,
)
from adwright.core.regular import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "Ed25519"
_MOST_KEY, _MOST_FILE = 1 << 16, 1 << 30
_SCRIPT = "verify_certificate.py.txt"
_FEATURE, _EXTRA = "signed certificates", "audit"


@dataclass(frozen=True)
class AuditKey:
    """A private key of Ed25519; it is not shown. public: 64 hexadecimal digits."""

    public: str
    private: Ed25519PrivateKey = field(repr=False, compare=False)


def make_key(path: str | Path) -> AuditKey:
    """A new key, written to `path` in PEM (PKCS #8), which only its owner may read.

    Raises ResourceError where something is there already; MissingExtraError.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    private = Ed25519PrivateKey.generate()
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never readable by others, not even for a moment, and never over another key.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ResourceError(
            "there is a file already", where=str(path), hint="choose another path, or use that key"
        ) from error
    except OSError as error:
        raise resource_error(error, path) or error from error
    with open(descriptor, "wb") as stream:
        stream.write(data)
    return _key(private)


def read_key(path: str | Path) -> AuditKey:
    """The key of a file. Raises ConfigError where it cannot be read, others may read it, or it is
    no private key of Ed25519; MissingExtraError."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    try:
        data = read_regular(path, most=_MOST_KEY)
        mode = os.stat(path).st_mode
    except OSError as error:
        raise ConfigError(
            f"the file cannot be read: {error.strerror}",
            where=str(path),
            hint="it must be a plain file that you may read",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            "others may read the private key", where=str(path), hint=f"chmod 600 {path}"
        )
    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "this is no private key in PEM without a password", where=str(path), hint="make one"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"this is no key of {ALGORITHM}", where=str(path), hint="make one")
    return _key(private)


def signed_text(certificate: RankCertificate, key: AuditKey) -> str:
    """The certificate with its signature, as JSON with a product a line."""
    payload = certificate.payload()
    signature = {
        "algorithm": ALGORITHM,
        "public_key": key.public,
        "value": key.private.sign(_bytes(payload)).hex(),
    }
    write = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    head = write({name: value for name, value in payload.items() if name != "products"})
    products = ",\n".join(map(write, payload["products"]))
    return (
        f'{{"certificate": {head[:-1]},\n"products": [\n{products}\n]}},\n'
        f'"signature": {write(signature)}}}\n'
    )


def write_signed(certificate: RankCertificate, key: AuditKey, path: str | Path) -> Path:
    """Write `signed_text` to `path`, whole or not at all; returns it."""
    path = Path(path)
    atomic_write_text(path, signed_text(certificate, key))
    return path


def read_signed(path: str | Path, *, public_key: str | None = None) -> RankCertificate:
    """The certificate of a file whose signature holds and whose bounds follow from its scores.

    public_key: of who should have signed; None takes the one in the file, which says only that the
    certificate was not changed. Raises FileUnreadableError where it is no such file, and
    ValueInvalidError where the signature is of another key or does not hold, or a bound is wrong.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    try:
        whole = json.loads(
            read_regular(path, most=_MOST_FILE).decode("utf-8"), object_pairs_hook=_once
        )
        payload, signature = whole["certificate"], whole["signature"]
        stated, value = signature["public_key"], bytes.fromhex(signature["value"])
        algorithm, data = signature["algorithm"], _bytes(payload)
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(stated))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileUnreadableError(
            f"this is no signed certificate: {error}", file=str(path), hint="ask for it anew"
        ) from error
    if algorithm != ALGORITHM or (public_key is not None and stated != public_key.lower()):
        raise ValueInvalidError(
            "the certificate is signed by another key",
            file=str(path),
            value=stated,
            hint="ask who signed it",
        )
    try:
        public.verify(value, data)
    except InvalidSignature as error:
        raise ValueInvalidError(
            "the signature does not hold: the file was changed after it was signed",
            file=str(path),
            hint="ask for it anew",
        ) from error
    return read_certificate(payload)


def verifier_source() -> str:
    """The script that checks a certificate without this package."""
    return files(__package__).joinpath(_SCRIPT).read_text("utf-8")


def _key(private: Ed25519PrivateKey) -> AuditKey:
    return AuditKey(private.public_key().public_bytes_raw().hex(), private)


def _bytes(payload: Any) -> bytes:
    """What is signed: the same bytes for the same values, whatever the file looks like."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found
