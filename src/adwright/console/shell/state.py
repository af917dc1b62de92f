"""What the addresses of the console share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Request

from adwright.console.shell.assets import Asset
from adwright.console.shell.config import ConsoleConfig
from adwright.console.shell.forms import Form, read_form
from adwright.console.shell.pages import Pages
from adwright.console.shell.reviewers import reviewer_of


@dataclass
class ConsoleState:
    """has_pairs: whether there are texts to compare. draining: the process is about to end."""

    config: ConsoleConfig
    pages: Pages
    assets: Mapping[str, Asset]
    has_pairs: bool = False
    draining: bool = False

    def known(self, reviewer: str, room: Literal["drafts", "pairs"]) -> dict[str, Any]:
        """What each page says in its head. room: where in the navigation it is."""
        return {
            "reviewer": reviewer,
            "signed_in": bool(self.config.key),
            "room": room,
            "has_pairs": self.has_pairs,
        }


async def _state(request: Request) -> ConsoleState:
    state: ConsoleState = request.app.state.service
    return state


State = Annotated[ConsoleState, Depends(_state)]


async def _reviewer(request: Request, state: State) -> str:
    config = state.config
    return reviewer_of(request, signed_in=bool(config.key), otherwise=config.reviewer)


async def _posted(request: Request, state: State) -> Form:
    return await read_form(request, state.pages.token)


Reviewer = Annotated[str, Depends(_reviewer)]
Posted = Annotated[Form, Depends(_posted)]
