"""The language of scripts: read, checked against a document, and run over plain values."""
