"""Pages that show ads beside what was judged of them."""
