"""The parts of the benchmark of visibility: cells, attacks, defences, and the result of them."""
