"""The Fast DDS profile that lets large images through (config/fastdds.xml)."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

FAST_DDS_3 = 'FASTDDS_DEFAULT_PROFILES_FILE'
FAST_DDS_2 = 'FASTRTPS_DEFAULT_PROFILES_FILE'
DISTROS_OF_2 = ('humble', 'iron', 'jazzy')


def profile_path() -> Path:
    """Return the shipped profile: of the source tree if run from there, else the installed one."""
    source = Path(__file__).parents[1] / 'config' / 'fastdds.xml'
    if source.is_file():
        return source
    return Path(get_package_share_directory('siamffn')) / 'config' / 'fastdds.xml'


def profile_environment() -> dict[str, str]:
    """Return the variable that sets the profile; empty where the user has set one."""
    if os.environ.get(FAST_DDS_2) or os.environ.get(FAST_DDS_3):
        return {}
    old = os.environ.get('ROS_DISTRO') in DISTROS_OF_2
    return {FAST_DDS_2 if old else FAST_DDS_3: str(profile_path())}


def use_profile() -> None:
    """Set the profile for this process and its children, unless the user has set one.

    Fast DDS reads it when the first participant is made: call this before `rclpy.init`.
    """
    os.environ.update(profile_environment())
