"""SiamFFN object tracking: networks, tracking, training, evaluation. Never imports ROS."""

import os

__version__ = '0.1.0'

# PyTorch's OpenMP threads wait for each other by spinning for milliseconds, which beside other busy
# threads makes a frame ten times as slow; going to sleep at once makes it twice as slow on an idle
# machine. A short spin is the middle. It must be set before PyTorch is loaded.
os.environ.setdefault('GOMP_SPINCOUNT', '10000')
