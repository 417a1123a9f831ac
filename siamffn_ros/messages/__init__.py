"""Conversions between ROS messages and images, boxes and tracks."""
