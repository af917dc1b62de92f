"""Engines of compiled libraries: OpenVINO GenAI and llama.cpp, the latter in a worker process."""
