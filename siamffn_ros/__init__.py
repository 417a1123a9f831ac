"""ROS 2 integration of SiamFFN: the tracker node, bag tools, demo and benchmark."""

import siamffn_model  # noqa: F401 (sets how PyTorch's threads wait, before any module loads PyTorch)
