from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from adwright.audit.certificate.certificate import (
    AuditKey,
    BoundedScores,
    RankCertificate,
    make_certificate,
    make_key,
    read_key,
    read_signed,
    signed_text,
    verifier_source,
    write_signed,
)
from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    ResourceError,
    ValueInvalidError,
)


@pytest.fixture
def key(tmp_path: Path) -> AuditKey:
    return make_key(tmp_path / "key.pem")


def certificate(count: int = 60, eps: float = 0.3) -> RankCertificate:
    """Scores with ties, and names that are no ASCII."""
    rng = np.random.default_rng(0)
    scores = BoundedScores(rng.normal(size=count).round(1), rng.normal(size=count), eps)
    names = [f"Kännchen {row}" for row in range(count)]
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return make_certificate("cups", "A cup?", names, scores, ranker="rules", made=when, colluders=3)


def test_a_key_is_kept_to_its_owner(tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys" / "one.pem")
    assert os.stat(tmp_path / "keys" / "one.pem").st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "keys" / "one.pem") == key
    assert "private" not in repr(key)
    with pytest.raises(ResourceError, match="there is a file already"):
        make_key(tmp_path / "keys" / "one.pem")
    os.chmod(tmp_path / "keys" / "one.pem", 0o644)
    with pytest.raises(ConfigError, match="others may read"):
        read_key(tmp_path / "keys" / "one.pem")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none.pem")
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "text.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="no private key"):
        read_key(tmp_path / "text.pem")


def test_it_comes_back_as_it_was(tmp_path: Path, key: AuditKey) -> None:
    one = certificate()
    path = write_signed(one, key, tmp_path / "cups.json")
    assert read_signed(path) == one
    assert read_signed(path, public_key=key.public.upper()) == one
    with pytest.raises(ValueInvalidError, match="signed by another key"):
        read_signed(path, public_key="00" * 32)


def test_any_change_is_found(tmp_path: Path, key: AuditKey) -> None:
    whole = json.loads(signed_text(certificate(), key))
    path = tmp_path / "cups.json"
    for change in ("eps", "made", "catalogue"):
        other = json.loads(json.dumps(whole))
        other["certificate"][change] = 9
        path.write_text(json.dumps(other))
        with pytest.raises(ValueInvalidError, match="does not hold"):
            read_signed(path)
    # The form of the file is free.
    path.write_text(json.dumps(whole, sort_keys=True))
    assert read_signed(path) == certificate()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"certificate": {}, "signature": {}}', "[" * 9999]
)
def test_what_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cups.json").write_text(text)
    with pytest.raises(FileUnreadableError, match="no signed certificate"):
        read_signed(tmp_path / "cups.json")


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path, key: AuditKey) -> None:
    text = signed_text(certificate(), key).replace('"eps": 0.3,', '"eps": 0.3, "eps": 0.3,')
    (tmp_path / "cups.json").write_text(text)
    with pytest.raises(FileUnreadableError, match="given twice"):
        read_signed(tmp_path / "cups.json")


def verified(tmp_path: Path, text: str, *more: str) -> tuple[int, str]:
    """What a third party sees: a Python that knows nothing of this package."""
    (tmp_path / "verify.py").write_text(verifier_source())
    (tmp_path / "cups.json").write_text(text)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [sys.executable, "-I", "verify.py", "cups.json", *more],
        cwd=tmp_path, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.returncode, found.stdout + found.stderr


def test_a_third_party_verifies_with_fifty_lines(tmp_path: Path, key: AuditKey) -> None:
    assert len(verifier_source().splitlines()) <= 50
    assert "adwright" not in verifier_source().replace("adwright-rank-certificate", "")
    text = signed_text(certificate(), key)
    assert verified(tmp_path, text, key.public) == (
        0,
        f"VALID: 60 products, eps 0.3, signed by {key.public}\n",
    )
    code, said = verified(tmp_path, text, "00" * 32)
    assert (code, said) == (1, f"INVALID: signed by another key, {key.public}\n")
    code, said = verified(tmp_path, text.replace('"eps": 0.3', '"eps": 0.4'))
    assert (code, said) == (1, "INVALID: the file was changed after it was signed\n")


def test_a_third_party_finds_a_signed_lie(tmp_path: Path, key: AuditKey) -> None:
    from dataclasses import replace

    one = certificate()
    lie = replace(one, best=(1, *one.best[1:]), worst=(1, *one.worst[1:]))
    code, said = verified(tmp_path, signed_text(lie, key))
    assert code == 1
    assert said.startswith("INVALID: Kännchen 0: stated")
    with pytest.raises(ValueInvalidError, match="does not follow"):
        read_signed(write_signed(lie, key, tmp_path / "lie.json"))
