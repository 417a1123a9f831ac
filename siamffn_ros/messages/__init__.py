"""Conversions between ROS messages and arrays or boxes."""
