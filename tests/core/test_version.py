"""Tests of the version."""

from __future__ import annotations

import re
from importlib.metadata import version

import adwright
from adwright.core.version import __version__


def test_the_version_is_the_installed_one_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert adwright.__version__ == __version__ == version("adwright")
