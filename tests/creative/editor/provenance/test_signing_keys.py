from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError
from adwright.creative.editor.provenance.signing_keys import (
    SigningKey,
    made_test_key,
    read_signing_key,
)


def written(folder: Path, key: SigningKey, mode: int = 0o600) -> tuple[Path, Path]:
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(key.chain)
    private.write_bytes(key.private)
    private.chmod(mode)
    return chain, private


def test_a_key_is_read_from_its_files(tmp_path: Path) -> None:
    key = made_test_key(SystemClock())
    assert read_signing_key(*written(tmp_path, key)) == key
    assert key.chain.count(b"BEGIN CERTIFICATE") == 2


def test_the_private_key_is_never_shown(tmp_path: Path) -> None:
    key = made_test_key(FixedClock())
    secret = key.private.decode().splitlines()[1]
    assert secret not in repr(key)
    with pytest.raises(ConfigError) as caught:
        SigningKey(key.private, key.private)
    assert secret not in str(caught.value)


def test_a_certificate_is_valid_by_the_clock_that_was_given() -> None:
    from cryptography.x509 import load_pem_x509_certificate

    made = load_pem_x509_certificate(made_test_key(FixedClock()).chain)
    assert made.not_valid_before_utc < FixedClock().now() < made.not_valid_after_utc
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 31


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    key = made_test_key(SystemClock())
    chain, private = written(tmp_path, key, 0o640)
    with pytest.raises(ConfigError, match="others may read the private key"):
        read_signing_key(chain, private)
    private.chmod(0o600)
    with pytest.raises(ConfigError, match="chain is not in PEM"):
        read_signing_key(private, private)
    with pytest.raises(ConfigError, match="private is not in PEM"):
        SigningKey(key.chain, b"secret")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_signing_key(tmp_path / "none.pem", private)
    with pytest.raises(ConfigError, match="algorithm"):
        SigningKey(key.chain, key.private, "rot13")  # type: ignore[arg-type]
