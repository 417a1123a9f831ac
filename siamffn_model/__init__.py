"""SiamFFN object tracker: networks, tracking, training and evaluation. Never imports ROS."""

import os

__version__ = '0.1.0'

# By default, waiting OpenMP threads of PyTorch spin for several milliseconds. When other threads
# are busy, this makes inference about ten times slower; without any spinning, inference takes twice
# as long on an idle machine. This value is a compromise. It must be set before PyTorch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '10000')
