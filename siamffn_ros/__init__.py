"""The ROS 2 side of SiamFFN: the tracker node, its bags and its demo."""

import siamffn_model  # noqa: F401 (sets how PyTorch's threads wait, before any module loads PyTorch)
