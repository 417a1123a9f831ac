"""Tests of the report folder and its HTML page."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from siamffn_model import __version__
from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.errors import DataError
from siamffn_model.evaluation.report import write_report
from siamffn_model.evaluation.results import OPEResult, ResetResult, score_one_pass

pytestmark = pytest.mark.slow

HTML_NAME = '<b>&"x"</b>'
UAV = Benchmark('UAV20L <long>', read_sequences, published={'SiamBAN': (0.564, 0.736)})
VOT = Benchmark('VOT2018', read_sequences, eao_lengths=(100, 356))
VOID = {'meta', 'link', 'img', 'br'}


class Page(HTMLParser):
    """Parser that checks the nesting of tags and collects text, table rows and references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ''
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = ' '.join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or '' for name, value in attrs if name in ('src', 'href')]
        if tag == 'tr':
            self.rows.append([])
        if tag in ('td', 'th'):
            self.rows[-1].append('')
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if 'style' not in self.open:
            self.text += data
        if {'td', 'th'} & set(self.open):
            self.rows[-1][-1] += data

    def data(self, kind: str) -> list[bytes]:
        """Return the contents of the embedded data URLs of this type."""
        start = f'data:{kind};base64,'
        encoded = [text[len(start) :] for text in self.references if text.startswith(start)]
        return [base64.b64decode(text, validate=True) for text in encoded]


def scored(shift: float, attributes: tuple[str, ...] = ('SV', 'FM', 'OV')) -> OPEResult:
    truth = np.tile([10.0, 10, 40, 40], (20, 1))
    boxes = truth + np.arange(20)[:, None] * [shift, 0, 0, 0]
    sequences = [Sequence('car_1', truth, None, attributes), Sequence('bird', truth / 2)]
    return score_one_pass(sequences, {'car_1': boxes, 'bird': boxes / 2}, fps=40)


@pytest.fixture(scope='module')
def trackers() -> dict[str, OPEResult]:
    return {'ours': scored(0.5), HTML_NAME: scored(1.5)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory, trackers: dict[str, OPEResult]) -> Path:
    path = tmp_path_factory.mktemp('report')
    write_report(path, UAV, trackers, {'car_1': np.full((60, 200, 3), 90, np.uint8)})
    return path


@pytest.fixture(scope='module')
def page(folder: Path) -> Page:
    return Page((folder / 'report.html').read_text(encoding='utf-8'))


def test_files(folder: Path) -> None:
    plots = ['success', 'precision', 'norm_precision', 'attributes']
    expected = {f'plots/{name}.{ending}' for name in plots for ending in ('svg', 'pdf')}
    expected |= {'summary.json', 'table.md', 'table.tex', 'strips/car_1.jpg', 'report.html'}
    files = {str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()}
    assert files == expected


def test_summary(folder: Path, trackers: dict[str, OPEResult]) -> None:
    summary = json.loads((folder / 'summary.json').read_text())
    assert summary == {name: result.summary() for name, result in trackers.items()}


def test_page_is_self_contained(folder: Path, page: Page) -> None:
    assert page.references
    assert all(reference.startswith('data:') for reference in page.references)
    text = (folder / 'report.html').read_text()
    assert 'script' not in page.tags
    assert not re.search(r'url\(|@import|\son\w+=', text)
    assert len(page.data('image/svg+xml')) == 4
    for svg in page.data('image/svg+xml'):
        assert ElementTree.fromstring(svg).tag.endswith('}svg')
        assert not re.search(rb'href="(?!#)', svg)
    (jpeg,) = page.data('image/jpeg')
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (60, 200, 3)
    assert abs(int(picture[30, 100, 0]) - 90) < 3


def test_page_shows_the_tables(page: Page, trackers: dict[str, OPEResult]) -> None:
    ours = trackers['ours'].curves.scores
    assert ['Tracker', 'Success ↑', 'Precision ↑', 'Norm. precision ↑', 'fps ↑'] in page.rows
    assert ['ours', *(f'{value:.3f}' for value in ours), '40.0'] in page.rows
    assert ['SiamBAN published', '0.564', '0.736', '-', '-'] in page.rows
    assert ['Tracker', 'SV', 'FM', 'OV'] in page.rows
    assert ['Sequence', 'ours', HTML_NAME] in page.rows
    assert [row[0] for row in page.rows[-2:]] == ['car_1', 'bird']


def test_names_are_escaped(page: Page) -> None:
    assert [row[0] for row in page.rows].count(HTML_NAME) == 3
    assert 'b' not in page.tags
    assert 'UAV20L <long>' in page.text


def test_page_describes_the_evaluation(page: Page) -> None:
    assert '2 sequences, 2 trackers' in page.text
    assert 'strictly above a threshold' in page.text
    assert re.search(rf'20\d\d-\d\d-\d\d, SiamFFN {re.escape(__version__)}', page.text)


def test_page_supports_dark_mode_and_small_screens(folder: Path) -> None:
    text = (folder / 'report.html').read_text()
    assert 'prefers-color-scheme: dark' in text
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text


def test_one_tracker_without_attributes_and_filmstrips(tmp_path: Path) -> None:
    benchmark = Benchmark('sequences', read_sequences)
    write_report(tmp_path / 'new' / 'folder', benchmark, {'only': scored(1, ())})
    page = Page((tmp_path / 'new' / 'folder' / 'report.html').read_text())
    assert '2 sequences, 1 tracker Ranking' in page.text
    assert len(page.data('image/svg+xml')) == 3
    assert 'by attribute' not in page.text
    assert 'Frames in which' in page.text and 'Frames ground truth' not in page.text
    assert not (tmp_path / 'new' / 'folder' / 'strips').exists()


RESETS = {
    'A': ResetResult(0.6, 0.4, 0.2, np.zeros(3), {'bag': (0.6, 2), 'ball': (np.nan, 1)}),
    'B': ResetResult(0.5, 0.2, 0.3, np.zeros(3), {'bag': (0.5, 1), 'ball': (0.7, 0)}),
}


def test_with_resets(tmp_path: Path) -> None:
    write_report(tmp_path, VOT, RESETS)
    page = Page((tmp_path / 'report.html').read_text())
    assert ['B', '0.500', '0.200', '1', '0.300'] in page.rows
    assert ['ball', '0.700', '-'] in page.rows
    assert ['ball', '0', '1'] in page.rows
    assert 'of 100 to 356 frames' in page.text
    assert {p.stem for p in (tmp_path / 'plots').iterdir()} == {'eao', 'accuracy_robustness'}
    assert json.loads((tmp_path / 'summary.json').read_text())['A']['per_sequence'] == {
        'bag': {'A': 0.6, 'failures': 2},
        'ball': {'A': None, 'failures': 1},
    }


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='at least one tracker'):
        write_report(tmp_path, UAV, {})
    assert list(tmp_path.iterdir()) == []


def test_page_is_written_last(tmp_path: Path) -> None:
    """An earlier page is kept if another file cannot be written."""
    (tmp_path / 'report.html').write_text('earlier')
    (tmp_path / 'strips').write_text('a file in the way')
    with pytest.raises(DataError, match=r'bag.jpg: cannot be written'):
        write_report(tmp_path, VOT, RESETS, {'bag': np.zeros((9, 9, 3), np.uint8)})
    assert (tmp_path / 'report.html').read_text() == 'earlier'
    assert (tmp_path / 'summary.json').exists()
