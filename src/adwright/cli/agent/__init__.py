"""adwright agent: an app explored, operated by checked scripts, and replayed."""
