"""SQLAdmin over a campaign store of adwright's; run with SQLAdmin on the path.

python _store_pages.py DESCRIPTOR STORE.sqlite3
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from sqladmin import Admin, ModelView
from sqladmin.authentication import AuthenticationBackend
from sqlalchemy import create_engine
from sqlalchemy.orm import declarative_base
from starlette.applications import Starlette
from starlette.requests import Request

from adwright.campaigns.store import tables

_Base = declarative_base(metadata=tables.METADATA)
_PASSWORD = "admin"


class _Tenant(_Base):  # type: ignore[misc, valid-type]
    __table__ = tables.TENANTS


class _Campaign(_Base):  # type: ignore[misc, valid-type]
    __table__ = tables.CAMPAIGNS


class _Creative(_Base):  # type: ignore[misc, valid-type]
    __table__ = tables.CREATIVES


def _view(model: type, name: str, plural: str, icon: str) -> type[ModelView]:
    columns = list(model.__table__.columns)  # type: ignore[attr-defined]
    return type(
        f"{model.__name__}Admin",
        (ModelView,),
        {
            "name": name,
            "name_plural": plural,
            "icon": icon,
            "column_list": [one.name for one in columns],
            "column_searchable_list": [columns[-1].name, columns[1].name],
            "form_include_pk": True,
        },
        model=model,
    )


class _Keys(AuthenticationBackend):
    async def login(self, request: Request) -> bool:
        form = await request.form()
        good = form.get("password") == _PASSWORD
        if good:
            request.session["who"] = str(form.get("username"))
        return good

    async def logout(self, request: Request) -> bool:
        request.session.clear()
        return True

    async def authenticate(self, request: Request) -> bool:
        return "who" in request.session


def main() -> None:
    """Serve until it is ended."""
    descriptor, path = int(sys.argv[1]), sys.argv[2]
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
    app = Starlette()
    admin = Admin(app, engine, authentication_backend=_Keys(secret_key="for one run"))
    admin.add_view(_view(_Campaign, "Campaign", "Campaigns", "fa-solid fa-bullhorn"))
    admin.add_view(_view(_Creative, "Creative", "Creatives", "fa-solid fa-image"))
    admin.add_view(_view(_Tenant, "Tenant", "Tenants", "fa-solid fa-user"))
    config = uvicorn.Config(app, log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main()
