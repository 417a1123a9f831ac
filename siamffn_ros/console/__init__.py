"""The web console's ROS back end: finds tracker nodes, subscribes to them, calls their services."""
