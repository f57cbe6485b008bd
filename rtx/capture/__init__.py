"""Capture: from a source to the newest frame, stamped with the time at which it was taken."""
