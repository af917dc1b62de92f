"""Sphinx settings; `make docs` builds with warnings as errors."""

import adwright

project = "adwright"
author = "the adwright developers"
copyright = "the adwright developers, Apache-2.0"
version = release = adwright.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = "adwright"
