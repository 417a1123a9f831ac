"""Read the package version from package.xml; pyproject.toml and setup.cfg hold all the rest."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

setup(version=ElementTree.parse(Path(__file__).parent / 'package.xml').findtext('version'))
