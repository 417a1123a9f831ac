"""SiamFFN visual object tracking: networks, tracking, training and evaluation. Never imports ROS."""

__version__ = '0.1.0'
