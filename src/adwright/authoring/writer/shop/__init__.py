"""Tables of products as shops and feeds have them: read, and written back with new texts."""
