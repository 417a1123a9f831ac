"""Write the report of an evaluation: tables, plots, filmstrips, and an HTML page with all."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from siamffn_model import __version__
from siamffn_model.atomic_io import write_bytes, write_text
from siamffn_model.datasets.benchmarks import Benchmark
from siamffn_model.errors import DataError
from siamffn_model.evaluation import plots, tables
from siamffn_model.evaluation.results import OPEResult, ResetResult, Results
from siamffn_model.imaging.image import Image

JPEG_QUALITY = 85


def write_report(
    folder: Path,
    benchmark: Benchmark,
    results: Mapping[str, Results],
    filmstrips: Mapping[str, Image] = {},
    absent_counts: bool = True,
) -> None:
    """Write summary.json, table.md, table.tex, plots/, strips/ and finally report.html.

    The page embeds all images; it has no scripts and loads no other files.

    Args:
        folder: is created if it does not exist.
        benchmark: its title and its published scores are shown.
        results: results by tracker, at least one.
        filmstrips: images by sequence, drawn in the colours of `plots.tracker_colours(results)`.
        absent_counts: as it was when the results were scored, see `Comparison.curves`.

    Raises:
        DataError: there are no results, or a file cannot be written.
    """
    if not results:
        raise DataError(f'{folder}: no results to report; evaluate at least one tracker')
    summary = {name: result.summary() for name, result in results.items()}
    _add_differences(summary, results)
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    write_text(folder / 'summary.json', text + '\n')
    arguments = results, benchmark.title, benchmark.published
    write_text(folder / 'table.md', tables.markdown(*arguments))
    write_text(folder / 'table.tex', tables.latex(*arguments))
    figures = _draw_plots(results, benchmark.title)
    for name, figure in figures.items():
        plots.save_figure(figure, folder / 'plots', name)
    for name, image in filmstrips.items():
        _write_jpeg(folder / 'strips' / f'{name}.jpg', image)
    page = _render_page(folder, benchmark, results, list(figures), filmstrips, absent_counts)
    write_text(folder / 'report.html', page)


def _add_differences(summary: dict[str, dict[str, Any]], results: Mapping[str, Results]) -> None:
    """Add the difference of each tracker to the first one, if there are several starts."""
    (first, reference), *others = results.items()
    for name, result in others:
        if isinstance(result, OPEResult) and result.several_starts:
            assert isinstance(reference, OPEResult)
            success, error = result.difference(reference)
            difference = {'to': first, 'success': round(success, 4)}
            summary[name]['difference'] = {**difference, 'standard_error': round(error, 4)}


def _draw_plots(results: Mapping[str, Results], title: str) -> dict[str, Figure]:
    one_pass = {name: r for name, r in results.items() if isinstance(r, OPEResult)}
    with_resets = {name: r for name, r in results.items() if isinstance(r, ResetResult)}
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


def _render_page(
    folder: Path,
    benchmark: Benchmark,
    results: Mapping[str, Results],
    figures: list[str],
    filmstrips: Mapping[str, Image],
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
        trackers=tables.rank_trackers(results),
        sequences={name for result in results.values() for name in result.per_sequence},
        ranking=tables.ranking_table(results, benchmark.published),
        differences=tables.difference_tables(results),
        attributes=tables.attribute_tables(results),
        by_sequence=tables.sequence_tables(results),
        figures={name: _base64(folder / 'plots' / f'{name}.svg') for name in figures},
        filmstrips={name: _base64(folder / 'strips' / f'{name}.jpg') for name in filmstrips},
        colours=plots.tracker_colours(results),
        date=datetime.now(timezone.utc).date(),
        version=__version__,
    )


def _write_jpeg(path: Path, image: Image) -> None:
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_bytes(path, data.tobytes())


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode('ascii')
