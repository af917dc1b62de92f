"""Which engine serves, by the options."""

from __future__ import annotations

from pathlib import Path

from tests.support.lm.lm_server import run


def test_engines_are_known_by_name() -> None:
    for verb in (("generate", "a"), ("serve",)):
        told = run(*verb, "--engine", "steam", code=2)
        assert "unknown engine 'steam'" in told
        assert "auto, openvino, torch, llamacpp" in told


def test_adapters_need_torch(tmp_path: Path) -> None:
    for engine in ("openvino", "llamacpp"):
        options = ("--engine", engine, "--adapters", str(tmp_path))
        assert "on torch alone" in run("serve", *options, code=2)


def test_a_device_is_torchs(tmp_path: Path) -> None:
    told = run("serve", "--device", "cuda", "--engine", "openvino", code=2)
    assert "openvino does not compute on cuda" in told
    assert "torch cannot compute there" in run("serve", "--device", "meta:x", code=2)
    told = run("serve", "--device", "cuda", "--adapters", str(tmp_path), code=2)
    assert "on the processor alone" in told


def test_a_lora_in_gguf_needs_llamacpp(tmp_path: Path) -> None:
    asked = ("serve", "--lora", "some.gguf", "--adapters", str(tmp_path))
    assert "LoRAs in GGUF act on llama.cpp" in run(*asked, code=2)
    asked = ("serve", "--lora", "some.gguf", "--device", "cuda")
    assert "a file of --lora does not compute on cuda" in run(*asked, code=2)
