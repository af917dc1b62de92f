"""Floor 2: ranking networks and the calibration of their scores; mathematics only."""
