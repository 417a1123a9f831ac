"""The tracker as a MAVLink camera, and control of a gimbal."""
