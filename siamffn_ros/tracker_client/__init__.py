"""What the console and the MAVLink camera share: finding trackers, their results and services."""
