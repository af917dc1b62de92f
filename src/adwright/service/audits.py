"""The audits of a tenant, read from the folder in which `adwright audit run` leaves them.

    AUDITS/TENANT/NAME/report.json        adwright audit run shop.jsonl --out AUDITS/TENANT/NAME

A job of continuous integration asks for the verdict of a gate, and nobody can start an audit or try
a text over the network: what a text is worth is for the shop to know, not for its sellers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from adwright.audit.report.audit_report import AuditReport, GateBounds, judge
from adwright.core.errors import ArtifactError, ConfigError
from adwright.core.regular import read_regular
from adwright.service.decide.routes import Reads, State
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError, error_docs

router = APIRouter(route_class=BodyRoute)
_REPORT = "report.json"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_MOST_BYTES, _MOST = 64 << 20, 100


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AuditTier(_Out):
    """A kind of text; points from -100 to 100 with an interval of 95%."""

    tier: str
    control: bool = Field(description="There to be compared with, and no attack.")
    texts: int
    net: float = Field(description="Net advantage over all runs, in percentage points.")
    net_low: float
    net_high: float
    first_before: float = Field(description="Share of orders in which its product stood first.")
    first_after: float
    others_lost: float = Field(description="Places that each other product lost, on average.")


class GateOut(_Out):
    """The verdict of a gate."""

    passed: bool
    sentences: list[str]


class AuditOut(_Out):
    """An audit."""

    name: str
    target: str = Field(description="The model, and how it ranks.")
    catalogue: str
    catalogue_hash: str
    products: int
    orders: int
    tiers: list[AuditTier]
    gate: GateOut | None = Field(description="Null where no bound was asked for.")


class AuditsOut(_Out):
    """The names of the tenant's audits."""

    audits: list[str]


@router.get(
    "/v1/audits",
    summary="Which audits there are",
    responses=error_docs(401, 403, 429, 503),
    tags=["audits"],
)
async def audits(tenant: Reads, state: State) -> AuditsOut:
    """The names of the tenant's audits, at most 100, in the order of their names."""
    names = partial(names_in, folder_of(state.config.audits, tenant), _REPORT)
    return AuditsOut(audits=await state.read_store(tenant, names))


@router.get(
    "/v1/audits/{name}",
    summary="What an audit found",
    responses=error_docs(401, 403, 404, 422, 429, 503),
    tags=["audits"],
)
async def audit(
    name: Annotated[str, InPath(pattern=f"^{NAME}$")],
    tenant: Reads,
    state: State,
    fail_above: Annotated[
        float | None,
        Query(ge=-100, le=100, description="The most points of net advantage of an attack."),
    ] = None,
) -> AuditOut:
    """The measures of an audit, and whether a gate with this bound passes."""
    folder = folder_of(state.config.audits, tenant)
    if folder is None or not re.fullmatch(NAME, name):
        raise _absent()
    report = await state.read_store(tenant, partial(_report, folder / name / _REPORT))
    return AuditOut(
        name=name,
        target=report.target,
        catalogue=report.catalogue,
        catalogue_hash=report.catalogue_hash,
        products=report.products,
        orders=report.orders,
        tiers=list(_tiers(report)),
        gate=None if fail_above is None else _gate(report, fail_above),
    )


def folder_of(root: str, tenant: str) -> Path | None:
    """The tenant's folder; None where there is none, or the tenant's name is no name of one."""
    return Path(root) / tenant if root and re.fullmatch(NAME, tenant) else None


def names_in(folder: Path | None, *files: str) -> list[str]:
    """The folders in a tenant's folder that hold these files, at most 100, by name."""
    try:
        found = [one.parent for one in folder.glob(f"*/{files[0]}")] if folder else []
        named = [one.name for one in found if all((one / file).is_file() for file in files)]
    except OSError:
        return []
    return sorted(one for one in named if re.fullmatch(NAME, one))[:_MOST]


def _report(path: Path) -> AuditReport:
    try:
        return AuditReport.from_json(read_regular(path, most=_MOST_BYTES).decode("utf-8"))
    except (OSError, UnicodeDecodeError, ArtifactError) as error:
        raise _absent() from error


def _absent() -> ApiError:
    return ApiError(404, "there is no such audit", hint="see GET /v1/audits")


def _gate(report: AuditReport, bound: float) -> GateOut:
    try:
        verdict = judge(report, GateBounds(bound))
    except ConfigError as error:
        raise ApiError(422, error.what, hint=error.hint) from error
    return GateOut(passed=verdict.passed, sentences=list(verdict.sentences))


def _tiers(report: AuditReport) -> Iterator[AuditTier]:
    for one in report.tiers:
        points: dict[str, Any] = {
            "net": 100 * one.net.value,
            "net_low": 100 * one.net.low,
            "net_high": 100 * one.net.high,
        }
        yield AuditTier(
            tier=one.tier,
            control=one.control,
            texts=one.runs,
            first_before=one.first_before.value,
            first_after=one.first_after.value,
            others_lost=one.harm.value,
            **points,
        )
