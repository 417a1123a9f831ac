"""The ROS 2 side of SiamFFN: the tracker node, its bags and its demo."""
