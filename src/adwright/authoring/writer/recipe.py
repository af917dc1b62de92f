"""What all texts of a job follow from beside their product: model, instructions, voice, limits.

Its hash is part of every row's: texts that were written by another recipe are other texts. A folder
holds those of one recipe, unless somebody asks for them to be written anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from adwright.authoring.checks.limits import CheckConfig, limits_version
from adwright.authoring.writer.asking import OpenedWriter, SlotPrompt
from adwright.authoring.writer.checking import check_configs, limit_of, voice_text
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import Drafts
from adwright.authoring.writer.products import ProductTable
from adwright.authoring.writer.slots import slot_named
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash

_DIGITS = 24


@dataclass(frozen=True)
class WriteRecipe:
    """values: what the texts follow from. settings: of the whole job. prompts, checks: by slot."""

    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    prompts: Mapping[str, SlotPrompt]
    checks: Mapping[str, CheckConfig]

    @property
    def digests(self) -> dict[str, str]:
        """slot -> hash of what its texts follow from."""
        common = {name: value for name, value in self.values.items() if name != "instructions"}
        return {
            slot: content_hash([common, prompt.instruction])[:_DIGITS]
            for slot, prompt in self.prompts.items()
        }

    @property
    def job(self) -> str:
        """Hash of the settings of the job."""
        return content_hash({"values": self.values, "settings": self.settings})[:_DIGITS]

    def job_line(self, table: ProductTable) -> dict[str, Any]:
        """What the journal keeps of the job."""
        shop = {"path": str(table.path.resolve()), "shop": table.shop.name}
        columns = {"fields": dict(table.columns.fields), "attributes": table.columns.attributes}
        return {"recipe": self.values, "settings": self.settings, "table": shop | columns}


def recipe_of(
    config: WriteConfig, opened: OpenedWriter, *, brands: Collection[str] = ()
) -> WriteRecipe:
    """The recipe of a job. brands: of the catalogue, as in `check_configs`.

    Raises ConfigError for a slot or platform that there is not, or a voice that cannot be read.
    """
    voice = voice_text(config)
    own = dict(config.instructions)
    prompts = {}
    for name in config.slots:
        slot = slot_named(name, config.platform)
        told = own.get(name) or slot.instruction(limit_of(config, slot))
        prompts[name] = SlotPrompt(told, voice)
    values = {
        "model": opened.name,
        "adapter": opened.adapter_hash,
        "platform": config.platform,
        "limits": limits_version() if config.platform else "",
        "voice": voice,
        "instructions": {name: one.instruction for name, one in prompts.items()},
        "labels": list(config.labels),
        "temperature": config.temperature,
        "variety": config.variety if config.variants > 1 else 0.0,
        "seed": config.seed,
        "repair": config.repair,
    }
    return WriteRecipe(values, to_jsonable(config), prompts, check_configs(config, brands=brands))


def require_same_recipe(drafts: Drafts, recipe: WriteRecipe, *, rewrite: bool) -> None:
    """Raise ConfigError, with what differs, where the folder's texts are of another recipe, and
    are not to be written anew."""
    jobs = drafts.jobs()
    if rewrite or not jobs or not drafts.states():
        return
    last = (drafts.job(jobs[-1]) or {}).get("recipe", {})
    differ = [name for name, value in recipe.values.items() if _differs(name, value, last)]
    if differ:
        raise ConfigError(
            f"the texts of this folder were written with another {', '.join(differ)}",
            where=", ".join(f"{name} {last.get(name)!r:.60}" for name in differ),
            hint="give the same settings, name another folder, or pass --rewrite, which writes all "
            "anew but what a person edited or approved",
        )


def _differs(name: str, value: Any, last: Mapping[str, Any]) -> bool:
    before = last.get(name)
    if name == "instructions" and isinstance(before, dict):
        # A slot that comes to the others changes none of them.
        return any(before[slot] != told for slot, told in value.items() if slot in before)
    return bool(before != value)
