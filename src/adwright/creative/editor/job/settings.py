"""What is asked of a job of edits: which edits, how they are searched, when one is kept.

    EditJob(edits=("exposure", "contrast"), method="genetic", calls=130, seed=0)

Edits of light and colours are the default: they keep the picture's size and words. `crop` changes
the shape, which a placement may not take; `text` lays a line over the picture that has to be named;
`faces` needs a consent manifest and a model of faces, see `face_model`.

The rule that stands beside every search: an edit is kept only where it is better than no edit by
the lower bound. Of several judges of one kind that is the lower end of the interval of the change,
which has to be above 0; of a single judge, which has no such interval, the change has to be `least`
of what was said before, or more. A second judge has to see a gain, too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from adwright.core.config import Count, Ge, Le, settings
from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.background import BackgroundBlur
from adwright.creative.editor.edits.framing import Crop
from adwright.creative.editor.edits.plan import AnyEdit, EditPlan
from adwright.creative.editor.edits.text import TextOverlay
from adwright.creative.editor.edits.tones import Contrast, Exposure, Saturation, Temperature
from adwright.creative.editor.provenance.source_type import FileFormat
from adwright.creative.editor.search.settings import GeneticSettings

__all__ = ["EDITS", "LIGHT", "EditJob", "EditKind", "SearchMethod"]

EditKind = Literal[
    "exposure",
    "contrast",
    "saturation",
    "temperature",
    "background_blur",
    "crop",
    "text",
    "faces",
]
SearchMethod = Literal["genetic", "random", "ascent", "pareto"]

#: The default.
LIGHT: tuple[EditKind, ...] = ("exposure", "contrast", "saturation", "temperature")
#: In the order in which they are done.
EDITS: tuple[EditKind, ...] = ("faces", *LIGHT, "background_blur", "crop", "text")
_FEWEST_CALLS = 12
_PLAIN: dict[str, AnyEdit] = {
    "exposure": Exposure(),
    "contrast": Contrast(),
    "saturation": Saturation(),
    "temperature": Temperature(),
    "background_blur": BackgroundBlur(),
    "crop": Crop(),
}


@settings
class EditJob:
    """edits: that may be made. method: of the search. calls: edited pictures that are judged of an
    ad, at most, no edit among them. line: of the edit `text`. form: of the files.

    least, coverage: see the module; coverage is of the interval. noise, unlike, latent, realness:
    weights of the penalties, as shares of what the judge says of the unedited picture: of fine
    noise, of a picture that is unlike all that the judge knows, of a face's distance in W+, of what
    the discriminator finds less real. side: longer side of the copy that is searched, pixels.
    """

    edits: tuple[EditKind, ...] = LIGHT
    method: SearchMethod = "genetic"
    calls: int = 130
    seed: int = 0
    line: str = ""
    form: FileFormat = "PNG"
    least: Annotated[float, Ge(0), Le(10)] = 0.01
    coverage: float = 0.9
    noise: Annotated[float, Ge(0), Le(10)] = 0.1
    unlike: Annotated[float, Ge(0), Le(10)] = 0.5
    latent: Annotated[float, Ge(0), Le(10)] = 0.05
    realness: Annotated[float, Ge(0), Le(10)] = 0.02
    side: Count = 512

    def __post_init__(self) -> None:
        if not self.edits or len(set(self.edits)) != len(self.edits):
            raise ConfigError(
                "no edit is allowed, or one is named twice",
                where="EditJob.edits",
                hint=f"choose among {', '.join(EDITS)}",
            )
        if self.calls < _FEWEST_CALLS:
            raise ConfigError(
                f"{self.calls} calls are no search",
                where="EditJob.calls",
                hint=f"{_FEWEST_CALLS} or more; 130 is usual",
            )
        if self.seed < 0 or not 0 < self.coverage < 1:
            raise ConfigError(
                f"seed {self.seed}, coverage {self.coverage}",
                where="EditJob",
                hint="seed >= 0, 0 < coverage < 1",
            )
        if bool(self.line) != ("text" in self.edits):
            raise ConfigError(
                "a line of text and the edit `text` go together",
                where="EditJob.line",
                hint="name both, or neither",
            )
        if self.line:
            TextOverlay(self.line)  # refuses what is no line

    def plan(self) -> EditPlan:
        """The edits without faces, none of which changes anything yet."""
        made = [_PLAIN[kind] for kind in EDITS if kind in self.edits and kind in _PLAIN]
        return EditPlan((*made, *((TextOverlay(self.line),) if self.line else ())))

    def genetic(self) -> GeneticSettings:
        """Generations that judge at most `calls` pictures: AdSEE's 30 plans and 10 parents where
        there are calls for two generations of them, else smaller ones (our choice)."""
        pareto = self.method == "pareto"
        population = 30 if self.calls >= (60 if pareto else 50) else max(4, self.calls // 3)
        parents = max(2, population // 3)
        each = population if pareto else population - parents
        return GeneticSettings(population, max(1, (self.calls - population) // each), parents)
