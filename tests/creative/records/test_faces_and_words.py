"""What is seen in pictures and films: faces, things, words, scenes and colours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
import webcolors
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.color import rgb2lab

from adwright.core.errors import MissingExtraError
from adwright.creative.records.describe import Watched, watch
from adwright.creative.records.encoders import CLASSES, class_names
from adwright.creative.records.looking import (
    INPUT_SIDE,
    Absent,
    FaceFinder,
    SeeingParts,
    TagFinder,
    WordReader,
    bits_a_pixel,
    boxes_of,
    colours_of,
    distinct,
    in_reading_order,
    lab_of,
    lean,
    names_of,
    orientation_of,
    palette,
    suppressed,
    tags_of,
    windows,
)
from adwright.creative.records.media import (
    PARTS,
    Clip,
    Frame,
    SeeingSettings,
    SeenPart,
    seeing_table,
)
from tests.support.creative.drawn_ads import Shot, drawn, photograph, portrait

ANCHORS = 48 * 48
BOX = st.tuples(*[st.floats(0, 1)] * 2, *[st.floats(0.02, 0.5)] * 2)
SOME = st.lists(st.tuples(BOX, st.floats(0.01, 1)), max_size=12)


def test_numbers_become_boxes_around_their_anchors() -> None:
    numbers = np.zeros((ANCHORS, 16), np.float32)
    place = 10 * 48 + 20  # row 10, column 20
    numbers[place, :4] = [19.2, -9.6, 38.4, 57.6]
    scores = np.full(ANCHORS, -200, np.float32)
    scores[place] = 0
    boxes, sure = boxes_of(numbers, scores)
    x, y = 20.5 / 48 + 0.1, 10.5 / 48 - 0.05
    assert boxes[place] == pytest.approx([x - 0.1, y - 0.15, x + 0.1, y + 0.15])
    assert sure[place] == 0.5
    assert sure[0] == pytest.approx(0, abs=1e-40)
    assert boxes[47][:2] == pytest.approx([47.5 / 48, 0.5 / 48])
    assert INPUT_SIDE == 4 * 48


def iou(a: np.ndarray, b: np.ndarray) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / area


def literal(boxes: np.ndarray, scores: np.ndarray, least: float) -> list[tuple[list[float], float]]:
    """Weighted suppression, box by box."""
    left = sorted(
        (at for at in range(len(boxes)) if scores[at] >= least), key=lambda at: -scores[at]
    )
    made = []
    while left:
        best = left[0]
        group = [at for at in left if at == best or iou(boxes[best], boxes[at]) > 0.3]
        total = sum(scores[at] for at in group)
        mean = [sum(scores[at] * boxes[at][k] for at in group) / total for k in range(4)]
        made.append((mean, float(scores[best])))
        left = [at for at in left if at not in group]
    return made


@given(SOME, st.floats(0.1, 0.9))
def test_suppression_is_what_it_says(
    some: list[tuple[tuple[float, ...], float]], least: float
) -> None:
    boxes = np.array([(x, y, x + w, y + h) for (x, y, w, h), _ in some]).reshape(-1, 4)
    scores = np.array([score for _, score in some])
    made, kept = suppressed(boxes, scores, least)
    wanted = literal(boxes, scores, least)
    assert kept == pytest.approx([score for _, score in wanted])
    assert made == pytest.approx(np.array([box for box, _ in wanted]).reshape(-1, 4))


def test_the_same_face_of_two_windows_counts_once_and_half_of_it_not_again() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 5, 10], [30, 0, 40, 10], [8, 0, 18, 10.0]]
    )
    assert distinct(boxes, np.array([0.9, 0.8, 0.95, 0.7, 0.6])).tolist() == [2, 3, 4]
    assert distinct(boxes[:2], np.array([0.8, 0.9])).tolist() == [1]
    assert distinct(np.empty((0, 4)), np.empty(0)).tolist() == []


@given(st.integers(16, 3000), st.integers(16, 3000))
def test_windows_lie_inside_and_cover_all(width: int, height: int) -> None:
    found = windows(width, height)
    assert len(found) <= 40
    covered = np.zeros((height // 8 + 1, width // 8 + 1), bool)
    for left, top, side in found:
        assert 0 <= left <= width - side
        assert 0 <= top <= height - side
        covered[top // 8 : -(-(top + side) // 8), left // 8 : -(-(left + side) // 8)] = True
    if max(width, height) < 5 * min(width, height):
        assert covered[: height // 8, : width // 8].all()


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def crowd(places: list[tuple[int, int]], width: int, size: tuple[int, int]) -> Image.Image:
    made = Image.new("RGB", size, "ivory")
    for place in places:
        made.paste(portrait(width), place)
    return made


@pytest.mark.parametrize(
    ("places", "width", "size"),
    [
        ([(500, 100)], 480, (1080, 1080)),
        ([(700, 80), (60, 600)], 300, (1080, 1080)),
        ([(30, 30), (500, 60), (150, 700), (800, 640)], 160, (1080, 1080)),
        ([(120, 60)], 150, (1080, 300)),
        ([(100, 60), (700, 90)], 150, (970, 250)),
        ([(60, 200), (60, 900), (60, 1500)], 300, (400, 1900)),
    ],
    ids=["one", "two", "four", "banner", "board", "tower"],
)
def test_as_many_faces_as_were_pasted_where_they_were(
    finder: FaceFinder, places: list[tuple[int, int]], width: int, size: tuple[int, int]
) -> None:
    boxes = finder.boxes(crowd(places, width, size))
    assert len(boxes) == len(places)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    for left, top in places:
        near = np.linalg.norm(middles - [left + width * 0.5, top + width * 0.55], axis=1)
        assert near.min() < 0.3 * width


def test_the_whole_photograph_has_one_and_others_none(finder: FaceFinder) -> None:
    assert len(finder.boxes(photograph("astronaut.png"))) == 1
    for name in ("coffee.png", "chelsea.png", "brick.png", "hubble_deep_field.jpg", "rocket.jpg"):
        assert len(finder.boxes(photograph(name))) == 0, name
    assert len(finder.boxes(drawn(Shot("navy", "orange", "Fresh bread")))) == 0


def test_fewer_count_the_surer_they_have_to_be() -> None:
    small = crowd([(100, 100), (700, 600)], 90, (1080, 1080))
    counts = [len(FaceFinder(least).boxes(small)) for least in (0.05, 0.75, 0.99)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] == 0


ENDS = {
    "dog": {"Chihuahua", "Mexican hairless"},
    "cat": {"tabby", "Egyptian cat"},
    "bird": {"cock", "great grey owl", "black grouse", "black swan", "white stork", "albatross"},
    "fish": {"tench", "stingray", "barracouta", "puffer"},
    "insect": {"tiger beetle", "lycaenid"},
    "motorcycle": {"moped", "motor scooter"},
    "bottle": {"beer bottle", "pill bottle", "pop bottle", "water bottle", "wine bottle"},
    "cup": {"coffee mug", "espresso", "cup"},
    "fruit": {"Granny Smith", "pomegranate"},
    "guitar": {"acoustic guitar", "electric guitar"},
    "airplane": {"airliner", "warplane"},
}


@pytest.fixture(scope="module")
def names() -> tuple[str, ...]:
    return class_names()


def test_photographs_are_named_and_what_is_not_sure_is_not(names: tuple[str, ...]) -> None:
    finder = TagFinder()
    assert finder.tags(photograph("chelsea.png")) == ("Egyptian cat", "cat")
    assert finder.tags(photograph("coffee.png")) == ("espresso", "cup")
    assert finder.tags(photograph("motorcycle_left.png")) == ("motorcycle",)
    for name in ("page.png", "rocket.jpg", "grass.png", "astronaut.png"):
        assert finder.tags(photograph(name)) == ()
    assert finder.tags(drawn(Shot("ivory", "orange", "Fresh bread"))) == ()


@pytest.mark.parametrize("group", ENDS)
def test_groups_hold_what_they_say(group: str, names: tuple[str, ...]) -> None:
    ends = {
        names[at]
        for one in seeing_table("groups")[group]
        for at in ((one,) if isinstance(one, int) else one)
    }
    assert ends == ENDS[group]


def test_each_class_belongs_to_one_group_at_most() -> None:
    places = [
        at
        for members in seeing_table("groups").values()
        for one in members
        for at in ([one] if isinstance(one, int) else range(one[0], one[1] + 1))
    ]
    assert len(set(places)) == len(places)
    assert max(places) < CLASSES


def test_a_class_and_the_sum_of_its_group_have_to_be_sure(names: tuple[str, ...]) -> None:
    moped, scooter, wig = (names.index(one) for one in ("moped", "motor scooter", "wig"))
    odds = np.zeros(CLASSES)
    odds[[moped, scooter, wig]] = [0.45, 0.3, 0.25]
    assert tags_of(odds, names, 0.7) == ("motorcycle",)
    assert tags_of(odds, names, 0.76) == ()
    assert tags_of(odds, names, 0.4) == ("moped", "motorcycle")
    assert tags_of(odds, names, 0.2) == ("moped", "motor scooter", "wig", "motorcycle")


SHIFTS = st.floats(-4, 4)


@pytest.fixture(scope="module")
def reader() -> WordReader:
    return WordReader()


def test_words_come_back_in_the_order_of_reading(reader: WordReader) -> None:
    picture = drawn(Shot("ivory", words="Fresh bread\nBaked at six\nTwo for $3"), (360, 300))
    assert reader.lines(picture) == ("Fresh bread", "Baked at six", "Two for $3")
    light = drawn(Shot("navy", words="Last days"), (360, 120))
    assert reader.lines(light) == ("Last days",)


def test_pictures_without_text_have_none(reader: WordReader) -> None:
    assert reader.lines(photograph("coffee.png")) == ()
    assert reader.lines(drawn(Shot("navy", "orange"), (160, 120))) == ()


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 4), (40, 2000), (2000, 40), (16, 16)])
def test_every_size_can_be_read(reader: WordReader, size: tuple[int, int]) -> None:
    assert reader.lines(Image.new("RGB", size, "white")) == ()


def test_of_the_confidence_depends_what_is_left_out() -> None:
    picture = photograph("motorcycle_left.png").crop((300, 100, 741, 400))
    assert set(WordReader(0.999).lines(picture)) <= set(WordReader(0.3).lines(picture))
    blurred = (
        drawn(Shot("ivory", words="Fresh bread"), (360, 300)).resize((60, 50)).resize((360, 300))
    )
    assert WordReader(1.0).lines(blurred) == ()


def test_rows_are_read_from_left_to_right_though_they_are_crooked() -> None:
    boxes = [(60, 11, 90, 21), (0, 10, 50, 20), (0, 40, 90, 52), (40, 14, 58, 24)]
    assert in_reading_order(boxes) == [1, 3, 0, 2]
    assert in_reading_order([]) == []


@given(st.lists(st.lists(SHIFTS, min_size=1, max_size=4), min_size=1, max_size=4), st.randoms())
def test_a_crooked_grid_is_read_row_by_row(rows: list[list[float]], rng: Random) -> None:
    places = [(row, column) for row, shifts in enumerate(rows) for column in range(len(shifts))]
    rng.shuffle(places)
    boxes = [
        (
            50 * column,
            30 * row + rows[row][column],
            50 * column + 40,
            30 * row + rows[row][column] + 20,
        )
        for row, column in places
    ]
    assert [places[at] for at in in_reading_order(boxes)] == sorted(places)


PLAIN = drawn(Shot("white", "red"))
FACE = drawn(Shot("ivory", pasted=portrait(120)))


def test_findings_of_several_pictures_become_one() -> None:
    parts = SeeingParts(SeeingSettings())
    pictures = [PLAIN, FACE, photograph("coffee.png")]
    assert parts.look("faces", pictures) == 1
    assert parts.look("faces", [PLAIN]) == 0
    assert parts.look("tags", [*pictures, pictures[-1]]) == ["espresso", "cup"]
    assert parts.look("colours", pictures)["background"] == ["off white"]
    words = [drawn(Shot("ivory", words=text), (360, 160)) for text in ("Fresh bread", "Two for $3")]
    assert parts.look("words", [words[0], *words]) == ["Fresh bread", "Two for $3"]


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("words", {"word_confidence": 0.5}),
        ("faces", {"face_score": 0.5}),
        ("tags", {"tag_probability": 0.5}),
    ],
)
def test_the_version_follows_what_the_finding_depends_on(part: SeenPart, setting: Any) -> None:
    before, after = SeeingParts(SeeingSettings()), SeeingParts(SeeingSettings(**setting))
    assert before.version(part) != after.version(part)
    for other in set(PARTS) - {part}:
        assert before.version(other) == after.version(other)


@pytest.mark.parametrize(
    ("part", "module"), [("words", "rapidocr"), ("faces", "ai_edge_litert.interpreter")]
)
def test_a_part_without_its_package_is_absent(
    part: SeenPart, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = SeeingParts(SeeingSettings()).look(part, [PLAIN])
    assert isinstance(found, Absent)
    assert "pip install 'adwright[creative]'" in found.why


def test_a_part_without_its_model_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    parts = SeeingParts(SeeingSettings(offline=True))
    for part in ("faces", "tags"):
        found = parts.look(part, [PLAIN])
        assert isinstance(found, Absent)
        assert "downloads are switched off" in found.why


RATE = 20
RED, BLUE, GREEN = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "green"))


@dataclass
class Reel:
    """A clip of images, each with its second."""

    images: list[tuple[float, Image.Image]]
    seconds: float | None = None
    watched: bool = True
    width: int = 64
    height: int = 48
    notes: list[str] = field(default_factory=list)

    def frames(self) -> Iterator[Frame]:
        for at, image in self.images:
            yield Frame(at, np.asarray(image), lambda image=image: image)


def reel(*shots: tuple[Image.Image, float]) -> Reel:
    """Each image for so many seconds."""
    images, start = [], 0.0
    for image, seconds in shots:
        images += [(start + at / RATE, image) for at in range(round(seconds * RATE))]
        start += seconds
    return Reel(images, start)


def colours(clip: Clip, **settings: Any) -> Watched[list[str]]:
    """The clip, and of each scene's pictures the strongest channel."""

    def see(images: tuple[Image.Image, ...]) -> list[str]:
        return ["RGB"[int(np.asarray(one)[0, 0].argmax())] for one in images]

    return watch(clip, SeeingSettings(**settings), see)


def test_cuts_come_back_where_they_are() -> None:
    found = colours(reel((RED, 1.5), (BLUE, 0.8), (GREEN, 2.2), (RED, 1.0)))
    assert [one.start for one in found.scenes] == pytest.approx([0, 1.5, 2.3, 4.5], abs=0.001)
    assert [one.seconds for one in found.scenes] == pytest.approx([1.5, 0.8, 2.2, 1.0], abs=0.001)
    assert [one.seen for one in found.scenes] == [["R"], ["B"], ["G"], ["R"]]
    assert found.cuts_a_minute == pytest.approx(3 / 5.5 * 60)
    assert found.pace == "medium"
    assert found.change == 0
    assert found.motion == "low"


def test_flashes_make_no_scenes() -> None:
    found = colours(reel((RED, 1.0), (BLUE, 0.15), (RED, 1.0)))
    assert len(found.scenes) < 3


def test_frames_that_are_held_for_long_are_cut_too() -> None:
    found = colours(Reel([(0.0, RED), (2.0, BLUE), (4.0, GREEN)], 6.0))
    assert [one.start for one in found.scenes] == [0.0, 2.0, 4.0]
    assert [one.seen for one in found.scenes] == [["R"], ["B"], ["G"]]
    assert (found.motion, found.change) == ("low", 0)
    slow = colours(Reel([(0.0, RED), (0.25, BLUE)], 0.5))
    still = colours(Reel([(0.0, RED), (0.25, BLUE)], 9.0))
    assert slow.change is not None
    assert still.change is not None
    assert 0 < still.change < 0.1 * slow.change


@pytest.mark.parametrize("pictures", [1, 3])
def test_pictures_are_spread_over_the_scene(pictures: int) -> None:
    shades = [(at / RATE, Image.new("RGB", (8, 8), (at // 2, 0, 0))) for at in range(400)]
    made = watch(
        Reel(shades, 20.0),
        SeeingSettings(pictures_a_scene=pictures),
        lambda images: [np.asarray(one)[0, 0, 0] / 10 for one in images],
    )
    wanted = [20 * (at + 0.5) / pictures for at in range(pictures)]
    assert made.scenes[0].seen == pytest.approx(wanted, abs=1.5)


def test_a_scene_of_one_frame_has_one_picture() -> None:
    found = colours(Reel([(0.0, RED)], 0.04), pictures_a_scene=3)
    assert [one.seen for one in found.scenes] == [["R"]]
    assert (found.motion, found.change) == ("", None)
    assert found.pace == "low"


def test_only_so_many_scenes_are_looked_at_and_all_are_told() -> None:
    found = colours(reel(*[((RED, BLUE)[at % 2], 1.0) for at in range(6)]), most_scenes=2)
    assert [one.seen for one in found.scenes] == [["R"], ["B"], None, None, None, None]
    assert found.pace == "high"


def test_what_moves_counts_within_scenes_and_cuts_do_not() -> None:
    photo = np.asarray(photograph("coffee.png").resize((120, 80)))

    def panned(step: int) -> Reel:
        images = [
            (at / RATE, Image.fromarray(np.roll(photo, step * at, axis=1))) for at in range(60)
        ]
        return Reel(images, 3.0)

    still, slow, fast = (colours(panned(step)) for step in (0, 1, 5))
    assert still.change == 0
    assert slow.change is not None
    assert fast.change is not None
    assert 0 < slow.change < fast.change
    assert (still.motion, fast.motion) == ("low", "high")
    assert colours(reel((RED, 1.0), (GREEN, 1.0), (BLUE, 1.0))).change == 0


def test_of_a_long_clip_each_picture_is_a_scene_without_a_length() -> None:
    found = colours(Reel([(100.0, RED), (900.0, BLUE)], 1000.0, watched=False))
    assert [(one.start, one.seconds) for one in found.scenes] == [(100.0, None), (900.0, None)]
    assert (found.pace, found.motion, found.cuts_a_minute) == ("", "", None)
    assert "longer than 600 s: 2 pictures" in found.without


COLOURS = seeing_table("colours")
NAMES = tuple(COLOURS)
WORDS = [(name, word) for name, words in COLOURS.items() for word in words.split()]


def name_of(*rgb: int) -> str:
    return NAMES[names_of(lab_of(np.array([rgb], np.uint8)))[0]]


def test_each_colour_of_css_belongs_to_one_name() -> None:
    css = {webcolors.name_to_hex(name) for name in webcolors.names("css3")}
    ours = [webcolors.name_to_hex(word) for _, word in WORDS if not word.startswith("#")]
    assert len(set(ours)) == len(ours)
    assert set(ours) == css


@pytest.mark.parametrize(("name", "word"), WORDS)
def test_a_colour_has_the_name_it_stands_under(name: str, word: str) -> None:
    hexadecimal = word if word.startswith("#") else webcolors.name_to_hex(word)
    assert name_of(*webcolors.hex_to_rgb(hexadecimal)) == name


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=8))
def test_the_nearest_is_taken(colours: list[tuple[int, int, int]]) -> None:
    lab = lab_of(np.array(colours, np.uint8))
    every = [
        (word if word.startswith("#") else webcolors.name_to_hex(word), name)
        for name, word in WORDS
    ]
    every_lab = lab_of(np.array([webcolors.hex_to_rgb(one) for one, _ in every], np.uint8))
    far = np.linalg.norm(lab[:, None] - every_lab, axis=-1)
    for row, place in enumerate(names_of(lab)):
        own = min(far[row, at] for at, (_, name) in enumerate(every) if name == NAMES[place])
        assert own == pytest.approx(far[row].min(), abs=1e-6)


def test_without_webcolors_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    names_of(np.zeros((0, 3)))
    palette.cache_clear()
    monkeypatch.setitem(sys.modules, "webcolors", None)
    with pytest.raises(MissingExtraError, match="creative"):
        names_of(np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("ground", "box"),
    [("white", "red"), ("navy", "orange"), ("black", "gold"), ("ivory", "purple")],
)
def test_a_box_on_a_ground_comes_back_by_name(ground: str, box: str) -> None:
    known = {"navy": "dark blue", "ivory": "off white"}
    found = colours_of(drawn(Shot(ground, box)))
    assert found.foreground == (known.get(box, box),)
    assert found.background == (known.get(ground, ground),)


def test_the_larger_colour_comes_first_and_small_ones_not_at_all() -> None:
    picture = Image.new("RGB", (200, 200), "white")
    picture.paste((255, 0, 0), (50, 50, 150, 120))
    picture.paste((0, 0, 139), (50, 120, 150, 150))
    picture.paste((0, 255, 255), (50, 50, 56, 56))
    assert colours_of(picture).foreground == ("red", "dark blue")
    picture.paste((0, 0, 139), (0, 0, 200, 14))
    assert colours_of(picture).background == ("white", "dark blue")


def test_where_nothing_stands_out_the_middle_counts() -> None:
    found = colours_of(Image.new("RGB", (90, 60), "yellow"))
    assert found.foreground == found.background == ("yellow",)
    assert (found.tone, found.complexity) == ("warm", "low")


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 1), (5000, 1), (1, 3000), (7, 9)])
def test_every_size_has_colours(size: tuple[int, int]) -> None:
    found = colours_of(Image.new("RGB", size, "red"))
    assert found.foreground == found.background == ("red",)
    assert found.complexity == "low"


def test_tone_follows_the_light() -> None:
    photo = photograph("camera.png")
    pixels = np.asarray(photo).astype(float)
    warm = Image.fromarray((pixels * [1.0, 0.9, 0.7]).astype(np.uint8))
    cool = Image.fromarray((pixels * [0.8, 0.92, 1.0]).astype(np.uint8))
    assert [colours_of(one).tone for one in (warm, photo, cool)] == ["warm", "neutral", "cool"]
    leans = [lean(lab_of(np.asarray(one))) for one in (warm, photo, cool)]
    assert leans == sorted(leans, reverse=True)
    assert leans[1] == pytest.approx(0, abs=1e-6)


def test_the_busier_the_more_complex() -> None:
    flat, photo = drawn(Shot("navy", "orange")), photograph("coffee.png")
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    assert bits_a_pixel(flat) < bits_a_pixel(photo) < bits_a_pixel(noise)
    levels = [colours_of(one).complexity for one in (flat, photo, noise)]
    assert levels == ["low", "medium", "high"]
    assert bits_a_pixel(Image.new("RGB", (640, 480), "teal")) == 0


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((1920, 1080), "landscape"),
        ((1080, 1920), "portrait"),
        ((1080, 1080), "square"),
        ((1080, 1050), "square"),
        ((1080, 1000), "landscape"),
        ((1, 1), "square"),
    ],
)
def test_orientation(size: tuple[int, int], said: str) -> None:
    assert orientation_of(*size) == said


def test_it_is_what_scikit_image_computes() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
    assert np.abs(lab_of(rgb) - rgb2lab(rgb)).max() < 0.02
