"""A headless Chromium for the tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    path = shutil.which('chromium')
    if path is None:
        pytest.skip('chromium is not installed')
    with api.sync_playwright() as playwright:
        options = [
            '--no-sandbox',
            '--disable-gpu',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
            '--no-first-run',
        ]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()
