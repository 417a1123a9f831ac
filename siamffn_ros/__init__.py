"""The ROS 2 side of SiamFFN: the tracker node, its bags and its demo."""

import os

# Threads of OpenMP (PyTorch on a CPU) that spin while they wait starve the camera's driver and our
# own receiving thread; it must be set before PyTorch is loaded.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
