"""Networks and the calibration of their scores."""
