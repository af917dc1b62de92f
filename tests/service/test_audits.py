from __future__ import annotations

from pathlib import Path

import pytest

from adwright.audit.report.audit_run import AuditRunConfig, run_audit
from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FixedModels
from tests.support.audit.scripted_targets import gullible
from tests.support.audit.shops import kettles
from tests.support.audit.texts import praise, quiet
from tests.support.service.small_shop import Client, running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An audit of acme."""
    texts = [praise("Steel Kettle"), quiet("Teapot")]
    config = AuditRunConfig(orders=3, draws=50)
    run_audit(kettles(), gullible(), texts, config, out=tmp_path / "audits/acme/spring")
    return tmp_path / "audits"


def asked(folder: Path, store: Store, tenant: str, *paths: str) -> list[tuple[int, dict]]:
    app = create_app(ServiceConfig(audits=str(folder)), store, FixedModels({}, SystemClock()))
    headers = {"X-API-Key": store.create_key(tenant, SCOPES)}
    with running(app) as client:
        return [answer(client, path, headers) for path in paths]


def answer(client: Client, path: str, headers: dict[str, str]) -> tuple[int, dict]:
    found = client.get(path, headers=headers)
    return found.status_code, found.json()


def test_a_tenant_reads_its_audits_and_asks_for_a_verdict(folder: Path, store: Store) -> None:
    names, plain, strict, loose = asked(
        folder,
        store,
        "acme",
        "/v1/audits",
        "/v1/audits/spring",
        "/v1/audits/spring?fail_above=20",
        "/v1/audits/spring?fail_above=100",
    )
    assert names == (200, {"audits": ["spring"]})
    assert plain[1]["gate"] is None
    assert [(one["tier"], one["net"]) for one in plain[1]["tiers"]] == [
        ("T0", 100.0),
        ("control truthful", 0.0),
    ]
    assert (plain[1]["target"], plain[1]["products"], plain[1]["orders"]) == ("gullible", 6, 3)
    assert strict[1]["gate"]["passed"] is False
    assert loose[1]["gate"]["passed"] is True


def test_nobody_reads_what_is_anothers_or_none(folder: Path, store: Store) -> None:
    (folder / "acme" / "broken").mkdir()
    (folder / "acme" / "broken" / "report.json").write_text("{}", "utf-8")
    (folder / "acme" / "linked").mkdir()
    (folder / "acme" / "linked" / "report.json").symlink_to(folder / "acme/spring/report.json")
    paths = ("/v1/audits", "/v1/audits/spring", "/v1/audits/..%2Facme%2Fspring")
    names, spring, above = asked(folder, store, "umbrella", *paths)
    assert names == (200, {"audits": []})
    assert (spring[0], above[0] in (404, 422)) == (404, True)
    found = asked(folder, store, "acme", "/v1/audits/broken", "/v1/audits/linked", "/v1/audits/no")
    assert [status for status, _ in found] == [404, 404, 404]
    assert found[0][1]["error"]["message"] == "there is no such audit"


def test_without_a_folder_there_are_no_audits(store: Store) -> None:
    app = create_app(ServiceConfig(), store, FixedModels({}, SystemClock()))
    headers = {"X-API-Key": store.create_key("acme", SCOPES)}
    with running(app) as client:
        assert answer(client, "/v1/audits", headers) == (200, {"audits": []})
        assert answer(client, "/v1/audits/spring", headers)[0] == 404
        assert client.get("/v1/audits").status_code == 401


def test_controls_alone_cannot_be_judged(tmp_path: Path, store: Store) -> None:
    config = AuditRunConfig(orders=2, draws=20)
    run_audit(kettles(), gullible(), [quiet("Teapot")], config, out=tmp_path / "a/acme/x")
    (found,) = asked(tmp_path / "a", store, "acme", "/v1/audits/x?fail_above=5")
    assert found[0] == 422
    assert "no attack to judge" in found[1]["error"]["message"]
