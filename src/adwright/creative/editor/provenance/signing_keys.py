"""Keys that sign statements about pictures.

    key = read_signing_key("chain.pem", "key.pem")      # of a certificate authority, or your own
    key = made_test_key(clock)                          # for trials: nobody trusts it

The certificate is an X.509 chain in PEM, the signer's first; C2PA asks for a key usage of digital
signature and an extended one such as e-mail protection. The private key is PKCS #8 in PEM. It is
read from a file that nobody else may read, is never shown by `repr`, and never written or logged.
"""

from __future__ import annotations

import os
import stat
from dataclasses import field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import ConfigError, MissingExtraError
from adwright.core.regular import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.x509 import Certificate, Name

__all__ = ["Algorithm", "SigningKey", "made_test_key", "read_signing_key"]

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
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
    except ImportError as error:
        raise MissingExtraError("signed statements about pictures", "creative") from error
    root, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = _name("adwright test authority"), _name("adwright test, not to be trusted")
    now = clock.now()
    certificates = (
        _certificate(names[1], names[0], signer.public_key(), root, now, authority=False),
        _certificate(names[0], names[0], root.public_key(), root, now, authority=True),
    )
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
    private = signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(chain, private)


def _name(common: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "adwright test"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _certificate(
    subject: Name,
    issuer: Name,
    public: EllipticCurvePublicKey,
    root: EllipticCurvePrivateKey,
    now: datetime,
    *,
    authority: bool,
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_TEST_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
        )
    )
    if not authority:
        extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(extended, critical=False)
    return made.sign(root, hashes.SHA256())
