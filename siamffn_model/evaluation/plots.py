"""Plots like those in benchmark papers. The global state of matplotlib is not changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from siamffn_model.atomic_io import atomic_write
from siamffn_model.evaluation.metrics import DISTANCES, NORM_DISTANCES, OVERLAPS, Floats
from siamffn_model.evaluation.results import OPEResult, ResetResult

# M. A. Petroff, "Accessible color sequences for data visualization", arXiv:2107.02270: ten colours
# that people with any of the common colour vision deficiencies can distinguish.
COLOURS = (
    *('#3f90da', '#ffa90e', '#bd1f01', '#94a4a2', '#832db6'),
    *('#a96b59', '#e76300', '#b9ac70', '#717581', '#92dadd'),
)
LINES = ('-', '--', '-.', ':')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<')
MAX_LEGEND = 20  # trackers in a legend; others are grey
MAX_NAME_LENGTH = 40  # characters; the middle of a longer name is left out
GRID, GREY = '#dddddd', '#bbbbbb'
WIDTH, HEIGHT = 5.0, 3.4  # inches, without the legend
LEGEND_LINE = 0.17  # inches
BAR_HEIGHT = 0.05  # inches

STYLE: Any = {  # its type differs between releases of matplotlib
    'axes.axisbelow': True,
    'axes.edgecolor': '#555555',
    'axes.grid': True,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'font.size': 8,
    'grid.color': GRID,
    'legend.fontsize': 8,
    'legend.frameon': False,
    'legend.handlelength': 3,
    'lines.linewidth': 1.6,
    'lines.markersize': 5,
    'pdf.fonttype': 42,  # TrueType, as publishers ask for
    'svg.fonttype': 'path',  # is rendered the same without the font
    'svg.hashsalt': 'siamffn',  # makes the file reproducible
}


def tracker_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the colour '#rrggbb' of each tracker in all plots and filmstrips of a report.

    The colours depend on the order; `names` must be all trackers of the results, in their order.
    """
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def success_plot(results: Mapping[str, OPEResult], title: str) -> Figure:
    """Plot the fraction of frames by overlap threshold; the legend shows the area under it."""
    lines = {name: (r.curves.scores.success, r.curves.success) for name, r in results.items()}
    return _curve_plot(lines, OVERLAPS, f'Success on {title}', 'overlap threshold')


def precision_plot(results: Mapping[str, OPEResult], title: str) -> Figure:
    """Plot the fraction of frames by centre error; the legend shows the value at 20 pixels."""
    lines = {name: (r.curves.scores.precision, r.curves.precision) for name, r in results.items()}
    return _curve_plot(lines, DISTANCES, f'Precision on {title}', 'distance threshold (pixels)')


def norm_precision_plot(results: Mapping[str, OPEResult], title: str) -> Figure:
    """Plot the fraction of frames by normalised centre error; the legend shows it at 0.2."""
    lines = {
        name: (r.curves.scores.norm_precision, r.curves.norm_precision)
        for name, r in results.items()
    }
    label = "distance threshold (of the target's size)"
    return _curve_plot(lines, NORM_DISTANCES, f'Normalised precision on {title}', label)


@rc_context(STYLE)
def attribute_plot(results: Mapping[str, OPEResult], title: str) -> Figure:
    """Plot success by attribute as thin bars with a marker at the end, the hardest at the bottom.

    Bars are used because a radar chart of many trackers is not readable. Only the `MAX_LEGEND` best
    trackers are shown.
    """
    means: dict[str, list[float]] = {}
    for result in results.values():
        for attribute, curves in result.per_attribute.items():
            means.setdefault(attribute, []).append(curves.scores.success)
    rows = sorted(means, key=lambda attribute: sum(means[attribute]) / len(means[attribute]))
    scores = {name: result.curves.scores.success for name, result in results.items()}
    styles, shown = _line_styles(scores), _ranked(scores)[:MAX_LEGEND]
    height = max(HEIGHT, BAR_HEIGHT * len(rows) * (len(shown) + 1))
    figure, axes = _figure(f'Success by attribute on {title}', height)
    for i, name in enumerate(shown):
        curves_of = results[name].per_attribute
        offset = 0.4 - 0.8 * (i + 0.5) / len(shown)
        heights = [row + offset for row, attribute in enumerate(rows) if attribute in curves_of]
        values = [
            curves_of[attribute].scores.success for attribute in rows if attribute in curves_of
        ]
        style = {**styles[name], 'linestyle': '', 'markersize': 4}
        axes.hlines(heights, 0, values, color=style['color'], linewidth=1.2)
        axes.plot(values, heights, label=_label(name, scores[name]), **style)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis='y', length=0)
    axes.grid(axis='y', visible=False)
    axes.set(xlabel='success', xlim=(0, None), ylim=(-0.5, len(rows) - 0.5))
    _legend(figure, axes)
    return figure


@rc_context(STYLE)
def eao_plot(results: Mapping[str, ResetResult], title: str) -> Figure:
    """Plot the EAO by rank, with the best at the right."""
    scores = {name: result.eao for name, result in results.items()}
    names = _ranked(scores)[::-1]
    labels = [f'{_short(name)} [{scores[name]:.3f}]' for name in names]
    longest = max(map(len, labels))
    height = HEIGHT + 0.05 * longest
    figure, axes = _figure(f'Expected average overlap on {title}', height)
    figure.set_figwidth(max(WIDTH, 0.18 * len(names)))
    styles = _line_styles(scores)
    for i, name in enumerate(names):
        axes.vlines(i, 0, scores[name], color=styles[name]['color'])
        axes.plot(i, scores[name], **styles[name])
    axes.set_xticks(range(len(names)), labels, ha='right', va='center', rotation_mode='anchor')
    axes.tick_params(
        axis='x', rotation=40 if len(names) <= 12 and longest <= MAX_NAME_LENGTH * 3 / 4 else 90
    )
    axes.grid(axis='x', visible=False)
    axes.set(ylabel='EAO', ylim=(0, None), xlim=(-0.5, len(names) - 0.5))
    return figure


@rc_context(STYLE)
def accuracy_robustness_plot(results: Mapping[str, ResetResult], title: str) -> Figure:
    """Plot accuracy over robustness, with the best at the upper right."""
    scores = {name: result.eao for name, result in results.items()}
    figure, axes = _figure(f'Accuracy and robustness on {title}')
    styles = _line_styles(scores)
    for name in _ranked(scores):
        result = results[name]
        style = {**styles[name], 'linestyle': '', 'markersize': 8}
        label = _label(name, scores[name])
        axes.plot(result.robustness, result.accuracy, label=label, **style)
    axes.set(xlabel='R, failures per 100 frames (fewer to the right)', ylabel='A, mean overlap')
    axes.margins(0.15)
    axes.invert_xaxis()
    _legend(figure, axes)
    return figure


@rc_context(STYLE)
def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.svg and `name`.pdf; raises `DataError` if they cannot be written."""
    for ending, date in (('svg', 'Date'), ('pdf', 'CreationDate')):
        with atomic_write(folder / f'{name}.{ending}') as partial:
            figure.savefig(partial, format=ending, metadata={date: None})


@rc_context(STYLE)
def _curve_plot(
    lines: Mapping[str, tuple[float, Floats]], thresholds: Floats, title: str, label: str
) -> Figure:
    scores = {name: score for name, (score, _) in lines.items()}
    figure, axes = _figure(title)
    styles = _line_styles(scores)
    for i, name in enumerate(_ranked(scores)):
        style = {**styles[name], 'marker': '', 'zorder': 3 - i / 1000}
        axes.plot(thresholds, lines[name][1], label=_label(name, scores[name]), **style)
    axes.set(xlabel=label, ylabel='fraction of frames')
    axes.set(xlim=(0, thresholds[-1]), ylim=(0, None))
    _legend(figure, axes)
    return figure


def _figure(title: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH, height), layout='constrained')
    axes = figure.add_subplot()
    axes.set_title(_escape(title))
    return figure, axes


def _legend(figure: Figure, axes: Axes) -> None:
    """Add the legend below the axes, in two columns if the names are short."""
    handles, labels = axes.get_legend_handles_labels()
    handles, labels = handles[:MAX_LEGEND], labels[:MAX_LEGEND]
    columns = 1 if max(map(len, labels)) > MAX_NAME_LENGTH * 3 / 4 else 2
    figure.legend(handles, labels, loc='outside lower center', ncols=columns)
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * rows)


def _line_styles(scores: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return colour, line style and marker by tracker; where colours repeat, the others differ."""
    styles = {
        name: {
            'color': colour,
            'linestyle': LINES[(i + i // len(COLOURS)) % len(LINES)],
            'marker': MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
        }
        for i, (name, colour) in enumerate(tracker_colours(scores).items())
    }
    for name in _ranked(scores)[MAX_LEGEND:]:
        styles[name] = {'color': GREY, 'linestyle': '-', 'marker': '.'}
    return styles


def _ranked(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda name: -scores[name])


def _label(name: str, score: float) -> str:
    return f'[{score:.3f}] {_short(name)}'


def _short(name: str) -> str:
    half = MAX_NAME_LENGTH // 2
    return _escape(name if len(name) <= MAX_NAME_LENGTH else f'{name[: half - 1]}…{name[-half:]}')


def _escape(text: str) -> str:
    """Escape dollar signs, which matplotlib would parse as a formula."""
    return text.replace('$', r'\$')
