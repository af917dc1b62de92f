"""The engines of a verb of `adwright programs`, by its options."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from adwright.core.addresses import shown_address
from adwright.core.config import settings
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.programs.dispatch.terms import DispatchTerms
    from adwright.service.programs.engine_room import EngineRoom, OpenableEngine, ServedText


EngineKind = Literal["paged", "openvino"]
#: Those that `lm.engine.http` knows.
ServerKind = Literal["openai", "vllm", "sglang"]


@settings
class EngineChoice:
    """The engines of a verb. name: that calls may give their model. urls: of servers, one engine
    each, in the place of processes here. tokenizer: of their model; "": tokens are guessed, and
    chats are refused. tenants: that will use them. measure: how fast they are, where that is not
    known yet."""

    kind: EngineKind
    model: str
    name: str = ""
    engines: int = 1
    threads: int = 0
    offline: bool = False
    urls: tuple[str, ...] = ()
    dialect: ServerKind = "openai"
    chat: bool = False
    tokenizer: str = ""
    tenants: tuple[str, ...] = ("",)
    public: tuple[str, ...] = ()
    measure: bool = False

    def __post_init__(self) -> None:
        if self.model.startswith(("http://", "https://")):
            url, _, model = self.model.partition("#")
            object.__setattr__(self, "urls", (url,))
            object.__setattr__(self, "model", model)
        if self.public and (self.urls or self.kind != "paged"):
            raise ConfigError(
                "only our own engine keeps what is public apart from what is not",
                where="public",
                hint="take --engine paged, or leave --public out",
            )

    @property
    def called(self) -> str:
        """The name of the model for callers."""
        return self.name or self.model

    @property
    def says(self) -> str:
        """What runs it, in words."""
        return shown_address(", ".join(self.urls)) or f"{self.kind}, in processes of their own"

    def room(self, terms: DispatchTerms | None = None) -> tuple[EngineRoom, ServedText]:
        """The engines, not yet open, and what is known of their model's texts.

        Raises AssetError where there is no such model, MissingExtraError where a package is
        missing, ConfigError where the engine cannot read the model.
        """
        from adwright.programs.dispatch.terms import DispatchTerms
        from adwright.service.programs.engine_room import EngineRoom

        terms = terms or DispatchTerms()
        text = self._text()
        made = dict(enumerate(self._engines()))
        if len(self.tenants) == 1 and (self.urls or self.kind == "openvino"):
            # They may keep the prefixes of all together.
            terms = replace(terms, one_domain=True)
        room = EngineRoom(
            {f"e{at}": one for at, one in made.items()},
            text.count,
            model=self.called,
            terms=terms,
            measured_for=self.tenants[0] if self.measure else None,
        )
        return room, text

    def _text(self) -> ServedText:
        from adwright.service.programs.engine_room import guessed_text, text_of_model

        if self.urls and not self.tokenizer:
            return guessed_text(engine=self.dialect)
        kind = self.dialect if self.urls else self.kind
        model = self.tokenizer or self.model
        return text_of_model(model, engine=kind, offline=self.offline)

    def _engines(self) -> list[OpenableEngine]:
        from adwright.lm.open_model import LmSpec
        from adwright.programs.engines.opened import engine_of

        # Our own key is for callers of ours, and no server's.
        key = "OPENAI_API_KEY"
        specs = [LmSpec(self.model, url=url, key_variable=key) for url in self.urls]
        if not specs:
            one = LmSpec(self.model, threads=self.threads, offline=self.offline)
            specs = [replace(one, engine=self.kind)] * self.engines
        # A cache that knows no tenants is one tenant's, or is not used.
        domain = "" if len(self.tenants) == 1 else None
        return [
            engine_of(
                spec,
                name=self.called,
                domain=domain,
                public=self.public,
                dialect=self.dialect,
                chat=self.chat,
            )
            for spec in specs
        ]
