from __future__ import annotations

from pathlib import Path

from adwright.service.registry.registry import SETTINGS, inventory, publish
from tests.support.service.small_shop import save_version


def test_it_tells_what_decides_and_what_else_is_there(tmp_path: Path) -> None:
    for tenant, version in (("acme", "v1"), ("acme", "v2"), ("umbrella", "v1")):
        save_version(tmp_path, tenant, version)
    publish(tmp_path, "acme", "v2")
    (tmp_path / "acme" / SETTINGS).write_text("seed = 1")
    (tmp_path / ".hidden").mkdir()
    acme, umbrella = inventory(tmp_path)
    assert (acme.tenant, acme.current, acme.settings) == ("acme", "v2", True)
    assert acme.kinds == {"v1": "hashed", "v2": "hashed"}
    assert acme.line() == ("acme: v2 (hashed, policy of serving.toml) decides; also there: v1")
    assert umbrella.line() == "umbrella: nothing is published (1 versions)"


def test_what_cannot_be_read_is_said_and_stops_nothing(tmp_path: Path) -> None:
    save_version(tmp_path, "acme", "v1")
    publish(tmp_path, "acme", "v1")
    (tmp_path / "acme" / "v1" / "manifest.json").write_text("{")
    (found,) = inventory(tmp_path)
    assert found.kinds == {"v1": ""}
    assert "v1 (missing) decides" in found.line()
    assert inventory(tmp_path / "nowhere") == []
