"""Edits with bounds: of light and colours, frame, background, text and faces, and plans of them."""
