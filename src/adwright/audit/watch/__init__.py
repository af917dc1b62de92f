"""Goes over a catalogue's changes since the last time, and lists the texts worth a look."""
