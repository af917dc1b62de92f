"""Vector indexes behind one interface: exact, and approximate by faiss."""
