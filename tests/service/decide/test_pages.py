from __future__ import annotations

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide.routes import docs_page, front
from adwright.service.registry.registry import FixedModels
from tests.support.service.small_shop import running


def test_the_front_names_where_it_is_described() -> None:
    found = front("1.2")
    assert (found["version"], found["openapi"], found["docs"]) == ("1.2", "/openapi.json", "/docs")


def test_the_page_lists_each_call_with_its_fields_and_runs_no_script(store: Store) -> None:
    app = create_app(ServiceConfig(), store, FixedModels({}, SystemClock()))
    page = docs_page(app.openapi())
    for path in app.openapi()["paths"]:
        assert f" {path}<" in page
    assert "deadline_ms" in page
    assert "curl -X POST http://127.0.0.1:8000/v1/decide" in page
    assert "<script" not in page
    assert "https://" not in page


def test_what_an_openapi_says_is_text() -> None:
    call = {"summary": "<b>", "parameters": [{"name": "<i>", "description": "&"}]}
    page = docs_page({"info": {"title": "t", "version": "1"}, "paths": {"/x": {"get": call}}})
    assert "&lt;b&gt;" in page
    assert "<td>&lt;i&gt;</td>" in page
    assert "<b>" not in page


def test_both_are_served_without_a_key(store: Store) -> None:
    with running(create_app(ServiceConfig(), store, FixedModels({}, SystemClock()))) as client:
        assert client.get("/").json()["docs"] == "/docs"
        page = client.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "/v1/decide" in page.text
