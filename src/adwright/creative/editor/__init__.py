"""Edits of ad pictures, with and without faces; what forbids them, and what records them."""
