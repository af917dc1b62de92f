"""Programs of semantic variables over HTTP: whole graphs in one call, run over several engines."""
