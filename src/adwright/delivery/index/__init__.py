"""Vector indexes behind one interface: exact, faiss and usearch."""
