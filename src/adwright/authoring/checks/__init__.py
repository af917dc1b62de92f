"""Checks of what was written, before it may be shown: facts, policies, limits, voice, language."""
