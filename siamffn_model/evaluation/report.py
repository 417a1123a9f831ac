"""A folder to look at after an evaluation: tables, plots, strips and one HTML page of all."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import cv2
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from siamffn_model import __version__
from siamffn_model.atomic_io import atomic_write, write_text
from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.errors import DataError
from siamffn_model.evaluation import plots, tables
from siamffn_model.evaluation.results import OnePass, Results, WithResets
from siamffn_model.imaging.sources import Image

JPEG_QUALITY = 85


def write_report(
    folder: Path,
    benchmark: Benchmark,
    results: Mapping[str, Results],
    strips: Mapping[str, Image] = {},
    absent_counts: bool = True,
) -> None:
    """Write summary.json, table.md, table.tex, plots/, strips/ and, last, report.html.

    The page holds all it shows, and runs and fetches nothing.

    Args:
        results: by tracker, at least one.
        strips: by sequence, drawn in the colours `plots.tracker_colours(results)` gives.
        absent_counts: how `results` were counted, see `Comparison.curves`.

    Raises:
        DataError: no results, or a file that cannot be written.
    """
    if not results:
        raise DataError(f'{folder}: no results to report; evaluate at least one tracker')
    summary = {name: result.summary() for name, result in results.items()}
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    write_text(folder / 'summary.json', text + '\n')
    shown = results, benchmark.title, benchmark.published
    write_text(folder / 'table.md', tables.markdown(*shown))
    write_text(folder / 'table.tex', tables.latex(*shown))
    figures = _figures(results, benchmark.title)
    for name, figure in figures.items():
        plots.save(figure, folder / 'plots', name)
    for name, image in strips.items():
        _write_jpeg(folder / 'strips' / f'{name}.jpg', image)
    page = _page(folder, benchmark, results, list(figures), strips, absent_counts)
    write_text(folder / 'report.html', page)


def _figures(results: Mapping[str, Results], title: str) -> dict[str, Figure]:
    one_pass = {name: r for name, r in results.items() if isinstance(r, OnePass)}
    with_resets = {name: r for name, r in results.items() if isinstance(r, WithResets)}
    if with_resets:
        return {
            'eao': plots.eao_plot(with_resets, title),
            'accuracy_robustness': plots.accuracy_robustness_plot(with_resets, title),
        }
    figures = {
        'success': plots.success_plot(one_pass, title),
        'precision': plots.precision_plot(one_pass, title),
        'norm_precision': plots.norm_precision_plot(one_pass, title),
    }
    if any(result.per_attribute for result in one_pass.values()):
        figures['attributes'] = plots.attribute_plot(one_pass, title)
    return figures


def _page(
    folder: Path,
    benchmark: Benchmark,
    results: Mapping[str, Results],
    figures: list[str],
    strips: Mapping[str, Image],
    absent_counts: bool,
) -> str:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template('report.html.jinja').render(
        benchmark=benchmark,
        absent_counts=absent_counts,
        trackers=tables.rank(results),
        sequences={name for result in results.values() for name in result.per_sequence},
        ranked=tables.ranked(results, benchmark.published),
        attributes=tables.by_attribute(results),
        by_sequence=tables.by_sequence(results),
        figures={name: _base64(folder / 'plots' / f'{name}.svg') for name in figures},
        strips={name: _base64(folder / 'strips' / f'{name}.jpg') for name in strips},
        colours=plots.tracker_colours(results),
        date=datetime.now(timezone.utc).date(),
        version=__version__,
    )


def _write_jpeg(path: Path, image: Image) -> None:
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    with atomic_write(path) as partial:
        partial.write_bytes(data.tobytes())


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode('ascii')
