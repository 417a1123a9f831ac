"""The lifecycle node `tracker`."""
