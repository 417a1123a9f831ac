"""SiamFFN object tracking: networks, tracking, training, evaluation. Never imports ROS."""

__version__ = '0.1.0'
