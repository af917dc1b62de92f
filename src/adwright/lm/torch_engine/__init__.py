"""The engine in this process on PyTorch: network, key-value cache, decoding and scoring."""
