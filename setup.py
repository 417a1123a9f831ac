"""The pip side: all in pyproject.toml and setup.cfg but the version, which package.xml holds."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

setup(version=ElementTree.parse(Path(__file__).parent / 'package.xml').findtext('version'))
