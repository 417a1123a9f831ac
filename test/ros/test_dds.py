"""siamffn_ros/dds.py"""

from __future__ import annotations

import os
from xml.etree import ElementTree

import pytest

from siamffn_ros.dds import FAST_DDS_2, FAST_DDS_3, profile_path, use_profile


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove the profile from the environment for the duration of the test."""
    for name in (FAST_DDS_2, FAST_DDS_3, 'ROS_DISTRO'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ('distro', 'name'),
    [('humble', FAST_DDS_2), ('jazzy', FAST_DDS_2), ('kilted', FAST_DDS_3), ('', FAST_DDS_3)],
)
def test_profile_is_set_for_each_distribution(
    clean: pytest.MonkeyPatch, distro: str, name: str
) -> None:
    clean.setenv('ROS_DISTRO', distro)
    use_profile()
    assert os.environ[name] == str(profile_path())
    assert sum(bool(os.environ.get(each)) for each in (FAST_DDS_2, FAST_DDS_3)) == 1


@pytest.mark.parametrize('name', [FAST_DDS_2, FAST_DDS_3])
def test_the_profile_of_the_user_is_kept(clean: pytest.MonkeyPatch, name: str) -> None:
    clean.setenv(name, '/my/own.xml')
    use_profile()
    assert os.environ[name] == '/my/own.xml'
    assert sum(bool(os.environ.get(each)) for each in (FAST_DDS_2, FAST_DDS_3)) == 1


def test_profile_exists_and_is_well_formed() -> None:
    root = ElementTree.parse(profile_path()).getroot()
    space = {'dds': 'http://www.eprosima.com'}
    used = {item.text for item in root.findall('.//dds:userTransports/dds:transport_id', space)}
    defined = {
        item.text for item in root.findall('.//dds:transport_descriptor/dds:transport_id', space)
    }
    assert used == defined and len(used) == 2
