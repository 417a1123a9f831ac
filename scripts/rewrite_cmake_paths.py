"""Replace the build machine's paths in the CMake files of the ROS wheels by those of this Python.

The wheels export the include folders of Python and NumPy as absolute paths under /opt/python.
scripts/setup.py runs this script with the Python of the virtual environment.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILD_MACHINE_PATHS = {
    r'/opt/python/cp\d+-cp\d+/include/python[\d.]+': sysconfig.get_path('include'),
    r'/opt/python/cp\d+-cp\d+/lib/python[\d.]+/site-packages/numpy/_core/include': (
        numpy.get_include()
    ),
}


def rewrite(folder: Path) -> int:
    """Rewrite the CMake files below `folder` that need it, and return their number."""
    count = 0
    for path in folder.rglob('*.cmake'):
        before = after = path.read_text(encoding='utf-8')
        for pattern, replacement in BUILD_MACHINE_PATHS.items():
            after = re.sub(pattern, replacement, after)
        if after != before:
            temporary = path.with_suffix('.cmake.new')
            temporary.write_text(after, encoding='utf-8')
            temporary.replace(path)
            count += 1
    return count


if __name__ == '__main__':
    print(f'{rewrite(Path(sys.prefix) / "share")} CMake files rewritten')
