"""Models of every kind trained again on what a service wrote, and held up to the old ones."""
