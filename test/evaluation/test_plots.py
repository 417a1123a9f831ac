"""Tests of the plots: curves, legends, colours, layout and files."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from siamffn_model.errors import DataError
from siamffn_model.evaluation import plots
from siamffn_model.evaluation.metrics import DISTANCES, NORM_DISTANCES, OVERLAPS, Curves
from siamffn_model.evaluation.results import OPEResult, ResetResult

LONG_NAME = 'a_rather_long_name_of_a_tracker_with_$x$_and_its_epoch_20'


def example_results(names: list[str], attributes: int = 12) -> dict[str, OPEResult]:
    """Return results of which the first is the best in success and the last in precision."""
    results = {}
    for i, name in enumerate(names):
        success = np.linspace(0.9 - i / 50, 0, 21)
        rise = np.linspace(0, 0.5 + i / 50, 51)
        curves = Curves(success, rise, rise / 2)
        parts = {
            f'A{j}': curves._replace(success=success * (j + 1) / 12) for j in range(attributes)
        }
        results[name] = OPEResult(curves, parts, {'car': {0: curves}})
    return results


def example_reset_results(names: list[str]) -> dict[str, ResetResult]:
    return {
        name: ResetResult(0.6 - i / 100, 0.1 + i / 50, 0.5 - i / 60, np.zeros(2), {'car': (0.5, i)})
        for i, name in enumerate(names)
    }


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


CURVES: list[tuple[Callable[..., Figure], str, np.ndarray]] = [
    (plots.success_plot, 'success', OVERLAPS),
    (plots.precision_plot, 'precision', DISTANCES),
    (plots.norm_precision_plot, 'norm_precision', NORM_DISTANCES),
]


@pytest.mark.parametrize(('plot', 'kind', 'thresholds'), CURVES)
def test_curves_show_the_results(
    plot: Callable[..., Figure], kind: str, thresholds: np.ndarray
) -> None:
    results = example_results(['one', 'two', 'three'])
    axes = plot(results, 'UAV20L').axes[0]
    lines = {line.get_label().split('] ')[1]: line for line in axes.lines}
    assert lines.keys() == results.keys()
    for name, result in results.items():
        assert np.array_equal(lines[name].get_xdata(), thresholds)
        assert np.array_equal(lines[name].get_ydata(), getattr(result.curves, kind))
    assert 'on UAV20L' in axes.get_title()


def test_legend_is_ranked() -> None:
    results = example_results(['one', 'two', 'three'])
    assert legend(plots.success_plot(results, '')) == [
        '[0.450] one',
        '[0.440] two',
        '[0.430] three',
    ]
    assert legend(plots.precision_plot(results, '')) == [
        '[0.216] three',
        '[0.208] two',
        '[0.200] one',
    ]


def test_legend_has_twenty_trackers_and_the_others_are_grey() -> None:
    figure = plots.success_plot(example_results([f't{i}' for i in range(25)]), '')
    assert [text.split()[1] for text in legend(figure)] == [f't{i}' for i in range(20)]
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert len(colours) == 25
    assert [colour == plots.GREY for colour in colours] == [False] * 20 + [True] * 5


def test_tracker_has_the_same_style_in_all_plots() -> None:
    names = [f't{i}' for i in range(20)]
    results, resets = example_results(names), example_reset_results(names)
    expected = plots.tracker_colours(names)
    styles = set()
    for plot in (plots.success_plot, plots.precision_plot, plots.attribute_plot):
        for line in plot(results, '').axes[0].lines:
            if ']' in line.get_label():
                assert line.get_color() == expected[line.get_label().split('] ')[1]]
    for line in plots.accuracy_robustness_plot(resets, '').axes[0].lines:
        assert line.get_color() == expected[line.get_label().split('] ')[1]]
    for line in plots.success_plot(results, '').axes[0].lines:
        styles.add((line.get_color(), line.get_linestyle()))
    assert len(styles) == 20, 'repeated colours have different lines'


# Machado, Oliveira, Fernandes: "A physiologically-based model for simulation of color vision
# deficiency", 2009, severity 1.0, for linear RGB.
VISION = {
    'normal': np.eye(3),
    'protanopia': [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    'deuteranopia': [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    'tritanopia': [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize('vision', VISION)
def test_first_ten_colours_are_distinct_for_colour_blind_people(vision: str) -> None:
    """Their CIELAB distances are many times the just noticeable difference (about 2)."""
    codes = plots.tracker_colours(map(str, range(10))).values()
    rgb = np.array([list(bytes.fromhex(code[1:])) for code in codes]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1).astype(np.float32)
    lab = cv2.cvtColor(seen[None], cv2.COLOR_LRGB2Lab)[0]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 15


def test_attributes_are_sorted_by_difficulty() -> None:
    results = example_results(['one', 'two'], attributes=3)
    axes = plots.attribute_plot(results, 'UAV20L').axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ['A0', 'A1', 'A2']
    line = next(line for line in axes.lines if line.get_label().endswith('] two'))
    expected = [results['two'].per_attribute[f'A{j}'].scores.success for j in range(3)]
    assert line.get_xdata().tolist() == pytest.approx(expected)
    assert np.round(line.get_ydata()).tolist() == [0, 1, 2]


def test_attribute_missing_for_one_tracker() -> None:
    results = example_results(['one', 'two'], attributes=3)
    del results['two'].per_attribute['A1']
    axes = plots.attribute_plot(results, '').axes[0]
    line = next(line for line in axes.lines if line.get_label().endswith('] two'))
    assert np.round(line.get_ydata()).tolist() == [0, 2]


def test_eao_has_the_best_at_the_right() -> None:
    results = example_reset_results(['best', 'middle', 'worst'])
    axes = plots.eao_plot(results, 'VOT2018').axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ['worst [0.467]', 'middle [0.483]', 'best [0.500]']
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines]
    assert points == [(i, results[n].eao) for i, n in enumerate(['worst', 'middle', 'best'])]


def test_accuracy_and_robustness_have_the_best_at_the_upper_right() -> None:
    results = example_reset_results(['best', 'worst'])
    axes = plots.accuracy_robustness_plot(results, '').axes[0]
    best, worst = (axes.transData.transform(line.get_xydata()[0]) for line in axes.lines)
    assert (best > worst).all()
    assert axes.lines[0].get_xydata().tolist() == [[0.1, 0.6]]


def all_plots(names: list[str]) -> dict[str, Figure]:
    results, resets = example_results(names), example_reset_results(names)
    return {
        'success': plots.success_plot(results, 'UAV20L'),
        'precision': plots.precision_plot(results, 'UAV20L'),
        'norm_precision': plots.norm_precision_plot(results, 'UAV20L'),
        'attributes': plots.attribute_plot(results, 'UAV20L'),
        'eao': plots.eao_plot(resets, 'VOT2018'),
        'accuracy_robustness': plots.accuracy_robustness_plot(resets, 'VOT2018'),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    'names',
    [['one'], [f'{LONG_NAME}_{i}' for i in range(8)], [f't{i}' for i in range(30)]],
    ids=['one', 'long', 'many'],
)
def test_nothing_is_clipped_or_covered(names: list[str]) -> None:
    for kind, figure in all_plots(names).items():
        figure.draw_without_rendering()
        axes = figure.axes[0]
        width, height = figure.bbox.size
        inked = figure.get_tightbbox().extents * figure.dpi
        assert (inked[:2] >= -1).all() and (inked[2:] <= (width + 1, height + 1)).all(), kind
        assert axes.bbox.height > 0.3 * height and axes.bbox.width > 0.6 * width, kind
        for key in figure.legends:
            assert key.get_window_extent().y1 <= axes.xaxis.label.get_window_extent().y0, kind
        if kind == 'eao' and len(names) > 12:
            boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
            assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes)), 'names overlap'


def test_long_names_keep_both_ends() -> None:
    (label,) = legend(plots.success_plot(example_results([LONG_NAME]), ''))
    assert re.fullmatch(r'\[0.450\] a_rather_long_.*….*_its_epoch_20', label)
    assert len(label) < 60


def test_dollar_signs_are_no_formula(tmp_path: Path) -> None:
    """An incomplete formula could not be drawn."""
    plots.save_figure(
        plots.success_plot(example_results(['$x_{$', 'a$b$c', '$']), '$t_{$'), tmp_path, 'plot'
    )
    assert (tmp_path / 'plot.svg').stat().st_size


def test_save(tmp_path: Path) -> None:
    figure = plots.success_plot(example_results(['<b>&--"', 'two']), 'UAV20L')
    plots.save_figure(figure, tmp_path / 'plots', 'success')
    svg, pdf = tmp_path / 'plots' / 'success.svg', tmp_path / 'plots' / 'success.pdf'
    assert sorted((tmp_path / 'plots').iterdir()) == [pdf, svg]
    assert ElementTree.parse(svg).getroot().tag.endswith('}svg')
    assert '<text' not in svg.read_text(), 'text is drawn as paths and needs no font'
    assert pdf.read_bytes().startswith(b'%PDF')
    plots.save_figure(
        plots.success_plot(example_results(['<b>&--"', 'two']), 'UAV20L'), tmp_path, 'success'
    )
    assert (tmp_path / 'success.svg').read_bytes() == svg.read_bytes()
    assert (tmp_path / 'success.pdf').read_bytes() == pdf.read_bytes()


def test_save_to_unwritable_path_raises(tmp_path: Path) -> None:
    (tmp_path / 'plots').write_text('a file')
    with pytest.raises(DataError, match=r'success.svg: cannot be written'):
        plots.save_figure(
            plots.success_plot(example_results(['one']), ''), tmp_path / 'plots', 'success'
        )


def test_global_state_is_unchanged(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    plots.save_figure(plots.success_plot(example_results(['one']), ''), tmp_path, 'success')
    assert dict(matplotlib.rcParams) == before


def test_only_plots_and_report_need_matplotlib() -> None:
    code = """if True:
        import sys
        from siamffn_model.evaluation import filmstrips, results, tables
        assert 'matplotlib' not in sys.modules
        from siamffn_model.evaluation import report
        assert 'matplotlib.pyplot' not in sys.modules
    """
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


def test_colours_are_css_and_matplotlib_colours() -> None:
    colours = plots.tracker_colours(['a', 'b'])
    assert list(colours) == ['a', 'b']
    assert [to_hex(colour) for colour in colours.values()] == list(colours.values())
