"""What the endpoints of programs share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from adwright.core.clock import Clock
from adwright.service.lm.keys import Callers
from adwright.service.programs.book import ProgramBook
from adwright.service.programs.config import ProgramServiceConfig
from adwright.service.programs.measures import ProgramMeasures
from adwright.service.programs.texts import ServedText
from adwright.web.errors import ApiError
from adwright.web.gate import ServiceMetrics, admitted


@dataclass
class ProgramState:
    """What the endpoints share. texts: of the models, by name, the default first."""

    config: ProgramServiceConfig
    book: ProgramBook
    texts: Mapping[str, ServedText]
    metrics: ServiceMetrics
    clock: Clock
    callers: Callers
    ready: Callable[[], Awaitable[Mapping[str, bool]]]
    draining: bool = False
    measures: ProgramMeasures = field(init=False)

    def __post_init__(self) -> None:
        self.measures = ProgramMeasures(self.metrics, self.book)

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock.now().timestamp())

    def text(self, name: str) -> ServedText:
        """The model of that name. Raises ApiError 404 where there is none."""
        if name not in self.texts:
            hint = "GET /v1/models lists them"
            raise ApiError(404, "there is no model of this name", hint=hint)
        return self.texts[name]


async def _state(request: Request) -> ProgramState:
    state: ProgramState = request.app.state.service
    return state


async def _tenant(request: Request) -> str:
    return admitted(request.scope).tenant


Programs = Annotated[ProgramState, Depends(_state)]
Tenant = Annotated[str, Depends(_tenant)]
