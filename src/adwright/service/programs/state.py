"""What the endpoints of programs share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from adwright.service.lm.endpoint import EndpointState
from adwright.service.programs.book import ProgramBook, ProgramServiceConfig
from adwright.service.programs.engine_room import ProgramMeasures, ServedText
from adwright.web.errors import ApiError
from adwright.web.gate import admitted


@dataclass
class ProgramState(EndpointState):
    """What the endpoints share. texts: of the models, by name, the default first. ready: whether
    each engine answers."""

    config: ProgramServiceConfig
    book: ProgramBook
    texts: Mapping[str, ServedText]
    ready: Callable[[], Awaitable[Mapping[str, bool]]]

    def __post_init__(self) -> None:
        self.measures = ProgramMeasures(self.metrics, self.book)

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
