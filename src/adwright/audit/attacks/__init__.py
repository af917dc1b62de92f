"""Attack a catalogue of one's own: how far can text push a product up the list?"""
