"""Engines that programs run on: in a child process, of any language model, or behind HTTP.

`paged_engine.PagedEngine` is where to begin: our own, with true forks. Each of them is an
`ExecutionEngine`.
"""
