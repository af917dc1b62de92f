"""Pages in a browser: drafts reviewed, texts compared blindly."""
