"""SiamFFN object tracker: networks, tracking, training and evaluation. Never imports ROS."""

import os
import sys

__version__ = '0.1.0'

# By default, waiting OpenMP threads of PyTorch spin for several milliseconds. When other threads
# are busy, this makes inference about ten times slower; without any spinning, inference takes twice
# as long on an idle machine. This value is a compromise. It must be set before PyTorch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '10000')

# Imported, OpenVINO, NNCF and ONNX Runtime send usage data to their makers and write an identifier
# into the home folder. Both are off: OpenVINO and NNCF do neither without this optional package,
# which counts as not installed from here on. docs/security.md describes it.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
os.environ['ORT_DISABLE_TELEMETRY'] = '1'
