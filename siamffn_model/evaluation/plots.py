"""Plots in the manner of the benchmark papers. matplotlib's global state stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from siamffn_model.atomic_io import atomic_write
from siamffn_model.evaluation.metrics import DISTANCES, NORM_DISTANCES, OVERLAPS, Floats
from siamffn_model.evaluation.results import OnePass, WithResets

# M. A. Petroff, "Accessible color sequences for data visualization", arXiv:2107.02270: ten colours
# that people with any of the usual colour vision deficiencies tell apart.
COLOURS = (
    *('#3f90da', '#ffa90e', '#bd1f01', '#94a4a2', '#832db6'),
    *('#a96b59', '#e76300', '#b9ac70', '#717581', '#92dadd'),
)
LINES = ('-', '--', '-.', ':')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<')
NAMED = 20  # trackers in a legend; others are grey
LONG = 40  # letters of a name that are shown; of longer ones both ends
GRID, GREY = '#dddddd', '#bbbbbb'
WIDTH, HEIGHT = 5.0, 3.4  # inches, without the legend
LEGEND_LINE = 0.17  # inches
BAR = 0.05  # inches

STYLE: Any = {  # matplotlib's releases type it differently
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
    'svg.fonttype': 'path',  # looks the same without the font
    'svg.hashsalt': 'siamffn',  # the same figure gives the same file
}


def tracker_colours(names: Iterable[str]) -> dict[str, str]:
    """Return each tracker's colour, '#rrggbb', in all that is shown of the same results.

    It follows from the order: give all names, as the results have them.
    """
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def success_plot(results: Mapping[str, OnePass], title: str) -> Figure:
    """Plot the share of frames by threshold of overlap; the legend has the area under it."""
    lines = {name: (r.curves.scores.success, r.curves.success) for name, r in results.items()}
    return _curve_plot(lines, OVERLAPS, f'Success on {title}', 'overlap threshold')


def precision_plot(results: Mapping[str, OnePass], title: str) -> Figure:
    """Plot the share of frames by threshold of distance; the legend has it at 20 pixels."""
    lines = {name: (r.curves.scores.precision, r.curves.precision) for name, r in results.items()}
    return _curve_plot(lines, DISTANCES, f'Precision on {title}', 'distance threshold (pixels)')


def norm_precision_plot(results: Mapping[str, OnePass], title: str) -> Figure:
    """Plot the same in units of the target's size; the legend has it at 0.2."""
    lines = {
        name: (r.curves.scores.norm_precision, r.curves.norm_precision)
        for name, r in results.items()
    }
    label = "distance threshold (of the target's size)"
    return _curve_plot(lines, NORM_DISTANCES, f'Normalised precision on {title}', label)


@rc_context(STYLE)
def attribute_plot(results: Mapping[str, OnePass], title: str) -> Figure:
    """Plot success by attribute, the hardest at the bottom: thin bars, a marker at their ends.

    A radar of many trackers cannot be read. Of these the best `NAMED` are shown.
    """
    means: dict[str, list[float]] = {}
    for result in results.values():
        for attribute, curves in result.per_attribute.items():
            means.setdefault(attribute, []).append(curves.scores.success)
    rows = sorted(means, key=lambda attribute: sum(means[attribute]) / len(means[attribute]))
    scores = {name: result.curves.scores.success for name, result in results.items()}
    looks, shown = _looks(scores), _ranked(scores)[:NAMED]
    height = max(HEIGHT, BAR * len(rows) * (len(shown) + 1))
    figure, axes = _figure(f'Success by attribute on {title}', height)
    for place, name in enumerate(shown):
        there = results[name].per_attribute
        aside = 0.4 - 0.8 * (place + 0.5) / len(shown)
        heights = [row + aside for row, attribute in enumerate(rows) if attribute in there]
        values = [there[attribute].scores.success for attribute in rows if attribute in there]
        look = {**looks[name], 'linestyle': '', 'markersize': 4}
        axes.hlines(heights, 0, values, color=look['color'], linewidth=1.2)
        axes.plot(values, heights, label=_label(name, scores[name]), **look)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis='y', length=0)
    axes.grid(axis='y', visible=False)
    axes.set(xlabel='success', xlim=(0, None), ylim=(-0.5, len(rows) - 0.5))
    _legend(figure, axes)
    return figure


@rc_context(STYLE)
def eao_plot(results: Mapping[str, WithResets], title: str) -> Figure:
    """Plot EAO by rank, the best at the right."""
    scores = {name: result.eao for name, result in results.items()}
    names = _ranked(scores)[::-1]
    labels = [f'{_short(name)} [{scores[name]:.3f}]' for name in names]
    longest = max(map(len, labels))
    height = HEIGHT + 0.05 * longest
    figure, axes = _figure(f'Expected average overlap on {title}', height)
    figure.set_figwidth(max(WIDTH, 0.18 * len(names)))
    looks = _looks(scores)
    for place, name in enumerate(names):
        axes.vlines(place, 0, scores[name], color=looks[name]['color'])
        axes.plot(place, scores[name], **looks[name])
    axes.set_xticks(range(len(names)), labels, ha='right', va='center', rotation_mode='anchor')
    axes.tick_params(axis='x', rotation=40 if len(names) <= 12 and longest <= LONG * 3 / 4 else 90)
    axes.grid(axis='x', visible=False)
    axes.set(ylabel='EAO', ylim=(0, None), xlim=(-0.5, len(names) - 0.5))
    return figure


@rc_context(STYLE)
def accuracy_robustness_plot(results: Mapping[str, WithResets], title: str) -> Figure:
    """Plot accuracy against robustness, the best at the upper right."""
    scores = {name: result.eao for name, result in results.items()}
    figure, axes = _figure(f'Accuracy and robustness on {title}')
    looks = _looks(scores)
    for name in _ranked(scores):
        result = results[name]
        look = {**looks[name], 'linestyle': '', 'markersize': 8}
        label = _label(name, scores[name])
        axes.plot(result.robustness, result.accuracy, label=label, **look)
    axes.set(xlabel='R, failures per 100 frames (fewer to the right)', ylabel='A, mean overlap')
    axes.margins(0.15)
    axes.invert_xaxis()
    _legend(figure, axes)
    return figure


@rc_context(STYLE)
def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.svg and `name`.pdf; raises `DataError` where they cannot be written."""
    for ending, date in (('svg', 'Date'), ('pdf', 'CreationDate')):
        with atomic_write(folder / f'{name}.{ending}') as partial:
            figure.savefig(partial, format=ending, metadata={date: None})


@rc_context(STYLE)
def _curve_plot(
    lines: Mapping[str, tuple[float, Floats]], thresholds: Floats, title: str, label: str
) -> Figure:
    scores = {name: score for name, (score, _) in lines.items()}
    figure, axes = _figure(title)
    looks = _looks(scores)
    for place, name in enumerate(_ranked(scores)):
        look = {**looks[name], 'marker': '', 'zorder': 3 - place / 1000}
        axes.plot(thresholds, lines[name][1], label=_label(name, scores[name]), **look)
    axes.set(xlabel=label, ylabel='share of frames')
    axes.set(xlim=(0, thresholds[-1]), ylim=(0, None))
    _legend(figure, axes)
    return figure


def _figure(title: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH, height), layout='constrained')
    axes = figure.add_subplot()
    axes.set_title(_text(title))
    return figure, axes


def _legend(figure: Figure, axes: Axes) -> None:
    """Put the legend below, where no curve is, in two columns if the names are short."""
    handles, labels = axes.get_legend_handles_labels()
    handles, labels = handles[:NAMED], labels[:NAMED]
    columns = 1 if max(map(len, labels)) > LONG * 3 / 4 else 2
    figure.legend(handles, labels, loc='outside lower center', ncols=columns)
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * rows)


def _looks(scores: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """How trackers are drawn: where the colours come round again, with other lines and markers."""
    looks = {
        name: {
            'color': colour,
            'linestyle': LINES[(i + i // len(COLOURS)) % len(LINES)],
            'marker': MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
        }
        for i, (name, colour) in enumerate(tracker_colours(scores).items())
    }
    for name in _ranked(scores)[NAMED:]:
        looks[name] = {'color': GREY, 'linestyle': '-', 'marker': '.'}
    return looks


def _ranked(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda name: -scores[name])


def _label(name: str, score: float) -> str:
    return f'[{score:.3f}] {_short(name)}'


def _short(name: str) -> str:
    half = LONG // 2
    return _text(name if len(name) <= LONG else f'{name[: half - 1]}…{name[-half:]}')


def _text(text: str) -> str:
    """Dollar signs would make it a formula."""
    return text.replace('$', r'\$')
