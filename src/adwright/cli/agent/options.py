"""Options of the verbs of `adwright agent`, and the files that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.lm.serve import DEFAULT_MODEL
from adwright.core.config import settings
from adwright.core.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from adwright.agent.document.elements import AppDocument
    from adwright.agent.generate.writing import BeamConfig
    from adwright.agent.operate.policy_file import AgentPolicy
    from adwright.agent.run.runner import MacroBook
    from adwright.core.clock import Clock
    from adwright.lm.engine.generation import LanguageModel


@settings
class AppFiles:
    """The files of an app: those that are not named lie beside its document."""

    document: Path
    policy: Path | None = None
    macros: Path | None = None
    records: Path | None = None

    @property
    def policy_path(self) -> Path:
        """Of the policy."""
        return self.policy or self.document.with_suffix(".policy.toml")

    @property
    def caps_path(self) -> Path:
        """Where the writes of the day are counted: beside the policy that bounds them."""
        name = self.policy_path.name.removesuffix(".toml").removesuffix(".policy")
        return self.policy_path.with_name(f"{name}.caps.json")

    @property
    def records_path(self) -> Path:
        """Of what an exploration has seen."""
        return self.records or self.document.with_suffix(".records")

    @property
    def book(self) -> MacroBook:
        """The kept tasks."""
        from adwright.agent.run.runner import MacroBook

        return MacroBook(self.macros or self.document.with_suffix(".macros"))

    def open(self) -> tuple[AppDocument, AgentPolicy]:
        """Read document and policy. Raises ConfigError where they do not belong together."""
        from adwright.agent.document.text_format import read_document
        from adwright.agent.operate.policy_file import load_policy

        document, policy = read_document(self.document), load_policy(self.policy_path)
        policy.require(document)
        return document, policy


@settings
class ModelChoice:
    """Which model may be asked for a script. writer: folder of a tuned writer of scripts."""

    model: str = DEFAULT_MODEL
    url: str = ""
    adapter: str = ""
    threads: int = 0
    offline: bool = False
    none: bool = False
    writer: str = ""

    def __post_init__(self) -> None:
        if self.none and (self.url or self.adapter or self.writer):
            raise ConfigError(
                "no model is asked, and one is named",
                where="--no-model",
                hint="leave it out, or the model",
            )
        if self.writer and (self.url or self.adapter):
            raise ConfigError(
                "a writer of scripts is a model of this machine with its own adapter",
                where=f"--writer {self.writer}",
                hint="leave it out, or --engine-url and --adapter",
            )

    @property
    def is_default(self) -> bool:
        """Whether none is named."""
        return self.model == DEFAULT_MODEL and not (self.url or self.adapter or self.writer)

    @property
    def asks_writer(self) -> bool:
        """Whether a tuned writer would be asked: the one that is named, or that which ships."""
        from adwright.agent.generate.writing import WRITER_ADAPTER

        ships = self.is_default and WRITER_ADAPTER.is_dir()
        return bool(self.writer) or (not self.none and ships)

    @property
    def beam(self) -> BeamConfig | None:
        """How it is asked; None as any model is."""
        from adwright.agent.generate.writing import WRITER_BEAM

        return WRITER_BEAM if self.asks_writer else None

    @property
    def opener(self) -> Callable[[], AbstractContextManager[LanguageModel]] | None:
        """What opens it, when it is needed; None where none may be asked."""
        if self.none:
            return None
        return self._writer if self.asks_writer else self._model

    @contextmanager
    def _writer(self) -> Iterator[LanguageModel]:
        from adwright.agent.generate.writing import open_tuned_writer

        typer.echo("no kept task and no plan fits: the tuned writer is asked", err=True)
        opened = open_tuned_writer(
            self.writer, model=self.model, threads=self.threads, offline=self.offline
        )
        with closing(opened) as model:
            yield model

    @contextmanager
    def _model(self) -> Iterator[LanguageModel]:
        from adwright.lm.open_model import LmSpec, open_lm

        spec = LmSpec(
            self.model,
            adapter=self.adapter,
            url=self.url,
            threads=self.threads,
            offline=self.offline,
        )
        why = ", untuned, as no writer of scripts is there" if self.is_default else ""
        typer.echo(f"no kept task and no plan fits: a model is asked{why}", err=True)
        with closing(open_lm(spec, auto="paged")) as model:
            yield model


def new_run_folder(folder: Path | None, clock: Clock) -> Path:
    """The folder of a run. Raises ResourceError where there is a run in it already."""
    if folder is None:
        return Path("runs/agent") / f"{clock.now():%Y%m%d-%H%M%S-%f}"
    if (folder / "trace.jsonl").exists():
        raise ResourceError(
            "there is a run already", where=str(folder), hint="name another folder, or none"
        )
    return folder


def name_values(words: list[str] | None, where: str) -> Mapping[str, str]:
    """The pairs of words such as share=25; what stands behind the first = is the value. Raises
    ConfigError, which does not repeat the value."""
    pairs: dict[str, str] = {}
    for word in words or ():
        name, sign, value = word.partition("=")
        if not sign or not name or name in pairs:
            raise ConfigError(
                "each is NAME=VALUE, once", where=f"{where} {name[:40]}", hint="as in share=25"
            )
        pairs[name] = value
    return pairs
