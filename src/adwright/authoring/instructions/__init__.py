"""Instruction data: seeds, importers, expansion, filters, balance, and a split by product."""
