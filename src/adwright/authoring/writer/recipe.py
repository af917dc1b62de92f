"""What all texts of a job follow from beside their product: model, instructions, voice, limits.

Its hash is part of every row's: texts that were written by another recipe are other texts. A folder
holds those of one recipe, unless somebody asks for them to be written anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from adwright.authoring.checks.limits import BrandVoice, CheckConfig, limit_named, limits_version
from adwright.authoring.writer.asking import OpenedWriter, SlotPrompt
from adwright.authoring.writer.config import WriteConfig, WriterSlot, slot_named
from adwright.authoring.writer.drafts import Drafts
from adwright.authoring.writer.products import ProductTable
from adwright.core.config import load_toml, to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash

# --------------------------------------------------------------------------------------------------
# How the texts of a job are checked: limits of the platform, voice and brands.

#: platform -> slot -> name of a limit. Of "" are those that hold wherever the text stands.
_LIMITS: Mapping[str, Mapping[str, str]] = {
    "": {"meta_description": "web.meta_description"},
    "google-rsa": {"headline": "google.headline", "description": "google.description"},
    "google-shopping": {
        "title": "google.shopping_title",
        "description": "google.shopping_description",
    },
    "meta": {
        "headline": "meta.headline",
        "description": "meta.description",
        "primary_text": "meta.primary",
    },
    "amazon": {"title": "amazon.title", "headline": "amazon.sponsored_headline"},
}


def check_configs(config: WriteConfig, *, brands: Collection[str] = ()) -> dict[str, CheckConfig]:
    """slot -> how its texts are checked. brands: of the catalogue, so that another brand's name is
    found. Raises ConfigError where the voice cannot be read."""
    voice = voice_of(config)
    return {
        name: CheckConfig(
            limit=limit_name(config, slot_named(name, config.platform)),
            voice=voice,
            brands=frozenset(brands),
        )
        for name in config.slots
    }


def limit_name(config: WriteConfig, slot: WriterSlot) -> str:
    """The limit of the platform for a slot; "" where it says nothing."""
    own = _LIMITS[config.platform].get(slot.name)
    return own or _LIMITS[""].get(slot.name, "")


def limit_of(config: WriteConfig, slot: WriterSlot) -> int:
    """Characters that a text is asked to have at most: what the platform shows of it; 0 where it
    says nothing."""
    name = limit_name(config, slot)
    if not name:
        return 0
    limit = limit_named(name)
    return limit.visible or limit.most


def room_of(config: WriteConfig, slot: WriterSlot) -> int:
    """Characters that a text may have: of the platform, else of the slot."""
    return limit_of(config, slot) or slot.characters


def voice_of(config: WriteConfig) -> BrandVoice | None:
    """The voice of the brand, where there is one. Raises ConfigError where it cannot be read."""
    return None if config.voice is None else load_toml(config.voice, BrandVoice)


def voice_text(config: WriteConfig) -> str:
    """What the system turn says of the voice; errors as `voice_of`."""
    voice = voice_of(config)
    return "" if voice is None else voice.prompt()


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
        "by": config.by,
        "codes": dict(config.codes),
        "judge": config.judge,
        "train": config.train,
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
