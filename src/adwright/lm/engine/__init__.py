"""One LanguageModel, several engines: torch, OpenVINO GenAI, HTTP, and a scripted one for tests.

Modules are imported by name (`from adwright.lm.open_model import open_model`), so that a
program which only speaks of prompts and answers loads no engine.
"""
