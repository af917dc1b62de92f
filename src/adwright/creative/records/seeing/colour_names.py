"""Forty names of colours that people use, and which colours each stands for.

The names are those that public descriptions of ads use (Harini S I et al., WACV 2025), so that a
picture that is measured here reads as theirs. Each of CSS's colours (W3C; by the package webcolors)
belongs to one of them; for those that CSS has no word for, or means otherwise (its dark grey is
lighter than its grey), the colour is that of the XKCD survey of names (2010, CC0).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import MissingExtraError
from adwright.creative.records.seeing.lab import lab_of

__all__ = ["COLOURS", "names_of", "palette"]

#: Name to colours, by CSS's name or in hexadecimal.
COLOURS: dict[str, str] = {
    "black": "black #0d0d0d",
    "dark gray": "#363737 darkslategray",
    "gray": "dimgray gray slategray lightslategray",
    "silver": "darkgray silver lightgray gainsboro",
    "white": "white whitesmoke snow ghostwhite azure mintcream aliceblue",
    "off white": "#ffffe4 ivory floralwhite seashell lavenderblush",
    "cream": "#ffffc2 cornsilk lemonchiffon lightyellow lightgoldenrodyellow",
    "beige": "beige linen oldlace antiquewhite papayawhip blanchedalmond bisque",
    "tan": "tan burlywood wheat navajowhite moccasin peachpuff",
    "khaki": "#aaa662 khaki darkkhaki palegoldenrod",
    "mustard": "#ceb301 darkgoldenrod goldenrod",
    "gold": "gold",
    "yellow": "yellow",
    "orange": "orange darkorange coral sandybrown",
    "brown": "#653700 saddlebrown sienna brown chocolate peru",
    "dark brown": "#341c02 #2b1d15",
    "red": "#e50000 red crimson tomato orangered",
    "dark red": "darkred firebrick indianred",
    "maroon": "maroon #650021",
    "pink": "pink lightpink salmon lightsalmon darksalmon lightcoral mistyrose hotpink",
    "dark pink": "#cb416b palevioletred mediumvioletred deeppink rosybrown",
    "magenta": "magenta",
    "violet": "violet orchid mediumorchid",
    "plum": "#580f41",
    "lilac": "#cea2fd plum thistle",
    "purple": "purple indigo darkorchid darkviolet blueviolet mediumpurple darkmagenta",
    "lavender": "lavender",
    "dark blue": "darkblue navy midnightblue darkslateblue",
    "blue": "blue mediumblue",
    "royal blue": "royalblue dodgerblue cornflowerblue steelblue slateblue mediumslateblue",
    "light blue": "lightblue skyblue lightskyblue powderblue lightsteelblue deepskyblue",
    "cyan": "cyan lightcyan",
    "turquoise": "turquoise mediumturquoise darkturquoise paleturquoise cadetblue lightseagreen "
    "aquamarine mediumaquamarine teal darkcyan",
    "emerald": "#01a049 mediumseagreen seagreen springgreen mediumspringgreen",
    "dark green": "darkgreen #033500",
    "green": "green forestgreen",
    "bright green": "#01ff07 lime lawngreen chartreuse limegreen",
    "light green": "lightgreen palegreen greenyellow honeydew yellowgreen darkseagreen",
    "olive": "olive olivedrab darkolivegreen",
    "mud green": "#606602 #4b4d12",
}
_PIXELS_AT_A_TIME = 8192


def names_of(lab: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each of N colours in Lab [N, 3] the place in COLOURS of the nearest, by distance in Lab.

    Raises MissingExtraError without webcolors.
    """
    colours, owners = palette()
    made = np.empty(len(lab), np.intp)
    for start in range(0, len(lab), _PIXELS_AT_A_TIME):
        some = lab[start : start + _PIXELS_AT_A_TIME]
        far = (colours**2).sum(1) - 2 * some @ colours.T
        made[start : start + len(some)] = owners[far.argmin(axis=1)]
    return made


@cache
def palette() -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Lab [P, 3] of all colours and the places of their names [P]. Raises as `names_of`."""
    try:
        from webcolors import hex_to_rgb, name_to_rgb
    except ImportError as error:
        raise MissingExtraError("names of colours", "creative") from error
    rgb, owners = [], []
    for place, words in enumerate(COLOURS.values()):
        for word in words.split():
            rgb.append(hex_to_rgb(word) if word.startswith("#") else name_to_rgb(word))
            owners.append(place)
    return lab_of(np.array(rgb, np.uint8)), np.array(owners, np.intp)
