"""The Fast DDS profile with buffers for large images (config/fastdds.xml)."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

from siamffn_model.errors import DISTRIBUTION

PROFILE = 'config/fastdds.xml'
FAST_DDS_3 = 'FASTDDS_DEFAULT_PROFILES_FILE'
FAST_DDS_2 = 'FASTRTPS_DEFAULT_PROFILES_FILE'
FAST_DDS_2_DISTROS = ('humble', 'iron', 'jazzy')


def profile_path() -> Path:
    """Return the path of the profile in the source tree, or where pip or colcon installed it."""
    source = Path(__file__).parents[1] / PROFILE
    if source.is_file():
        return source
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    installed = [file for file in files if file.as_posix().endswith(f'share/siamffn/{PROFILE}')]
    if installed:
        return Path(str(installed[0].locate())).resolve()
    return Path(get_package_share_directory('siamffn')) / PROFILE


def profile_environment() -> dict[str, str]:
    """Return the environment variable that selects the profile; empty if the user has set one."""
    if os.environ.get(FAST_DDS_2) or os.environ.get(FAST_DDS_3):
        return {}
    version_2 = os.environ.get('ROS_DISTRO') in FAST_DDS_2_DISTROS
    return {FAST_DDS_2 if version_2 else FAST_DDS_3: str(profile_path())}


def use_profile() -> None:
    """Select the profile for this process and its children, unless the user has set one.

    Call this before `rclpy.init`: Fast DDS reads the profile when it creates the first participant.
    """
    os.environ.update(profile_environment())
