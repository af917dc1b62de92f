"""The search for edits that a judge of pictures likes better, and how what was found is said."""
