"""Sphinx settings; `make docs` builds with warnings as errors."""

import sys
from pathlib import Path
from typing import Any

import adwright

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _reference import as_rst, with_modules

project = "adwright"
author = "the adwright developers"
copyright = "the adwright developers, Apache-2.0"
version = release = adwright.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
# Thousands of names in the margin of every page would be most of the pages.
toc_object_entries = False
maximum_signature_line_length = 88

html_theme = "furo"
html_title = "adwright"


def setup(app: Any) -> None:
    """Fill the pages of the reference from the source."""

    def fill(_: Any, name: str, source: list[str]) -> None:
        if name.startswith("reference/"):
            source[0] = with_modules(source[0])

    def read(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
        lines[:] = as_rst(lines)

    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", read)
