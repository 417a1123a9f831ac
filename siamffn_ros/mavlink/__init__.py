"""A tracker as a MAVLink camera, for QGroundControl and autopilots."""
