"""Tests of the tables: ranking, marks, Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from siamffn_model.evaluation.metrics import Curves
from siamffn_model.evaluation.results import OPEResult, ResetResult
from siamffn_model.evaluation.tables import (
    Cell,
    Row,
    attribute_tables,
    latex,
    markdown,
    rank_trackers,
    ranking_table,
    sequence_tables,
)


def curves(success: float, precision: float = 0, norm_precision: float = 0) -> Curves:
    """Return constant curves, whose scores are the given values."""
    return Curves(np.full(21, success), np.full(51, precision), np.full(51, norm_precision))


def one_pass(scores: tuple[float, float, float], fps: float | None = None) -> OPEResult:
    """Return the result on one sequence with one attribute."""
    return OPEResult(curves(*scores), {'SV': curves(*scores)}, {'car_1': {0: curves(*scores)}}, fps)


def with_resets(accuracy: float, robustness: float, eao: float, failures: int) -> ResetResult:
    sequences = {'bag': (accuracy, failures), 'ball': (math.nan, 1)}
    return ResetResult(accuracy, robustness, eao, np.zeros(2), sequences)


@pytest.fixture
def results() -> dict[str, OPEResult]:
    return {
        'a_b': one_pass((0.4, 0.7, 0.5), 61.25),
        'Z|*': one_pass((0.61239, 0.6, 0.55)),
        'last': one_pass((0.1, 0.1, 0.1), 100),
    }


@pytest.fixture
def resets() -> dict[str, ResetResult]:
    return {'A': with_resets(0.6, 0.4, 0.2, 7), 'B': with_resets(0.5, 0.2, 0.3, 0)}


ONE_PASS_PAGE = r"""# UAV20L \<1\>

## Ranking

| Tracker               |   Success ↑ |   Precision ↑ |   Norm. precision ↑ |     fps ↑ |
|:----------------------|------------:|--------------:|--------------------:|----------:|
| Z\|\*                 |   **0.612** |         0.600 |           **0.550** |         - |
| *Siam\_X* (published) |       0.500 |     **0.800** |                   - |         - |
| a\_b                  |       0.400 |         0.700 |               0.500 |      61.2 |
| last                  |       0.100 |         0.100 |               0.100 | **100.0** |

## Success by attribute

| Tracker   |        SV |
|:----------|----------:|
| Z\|\*     | **0.612** |
| a\_b      |     0.400 |
| last      |     0.100 |

## Precision by attribute

| Tracker   |        SV |
|:----------|----------:|
| Z\|\*     |     0.600 |
| a\_b      | **0.700** |
| last      |     0.100 |

## Success by sequence

| Sequence   |     Z\|\* |   a\_b |   last |
|:-----------|----------:|-------:|-------:|
| car\_1     | **0.612** |  0.400 |  0.100 |
"""


def test_markdown_page(results: dict[str, OPEResult]) -> None:
    assert markdown(results, 'UAV20L <1>', {'Siam_X': (0.5, 0.8)}) == ONE_PASS_PAGE


RESETS_PAGE = r"""# VOT

## Ranking

| Tracker   |       A ↑ |       R ↓ |   Failures ↓ |     EAO ↑ |
|:----------|----------:|----------:|-------------:|----------:|
| B         |     0.500 | **0.200** |        **1** | **0.300** |
| A         | **0.600** |     0.400 |            8 |     0.200 |

## Accuracy by sequence

| Sequence   |     B |         A |
|:-----------|------:|----------:|
| bag        | 0.500 | **0.600** |
| ball       |     - |         - |

## Failures by sequence

| Sequence   |     B |   A |
|:-----------|------:|----:|
| bag        | **0** |   7 |
| ball       |     1 |   1 |
"""


def test_markdown_with_resets(resets: dict[str, ResetResult]) -> None:
    """Lower robustness and failures are better; published success scores are not shown."""
    assert markdown(resets, 'VOT', {'Siam': (0.5, 0.8)}) == RESETS_PAGE


def test_latex_page(results: dict[str, OPEResult]) -> None:
    page = latex(results, '100% of #1', {'Siam_X': (0.5, 0.8)})
    assert page.split('\n\n')[0].splitlines() == [
        r'% Needs \usepackage{booktabs}.',
        r'\begin{table}',
        r'  \centering',
        r'  \footnotesize',
        r'  \setlength{\tabcolsep}{3pt}',
        r'  \caption{100\% of \#1: ranking.}',
        r'  \begin{tabular}{lrrrr}',
        r'    \toprule',
        r'    Tracker & Success $\uparrow$ & Precision $\uparrow$ & Norm. precision $\uparrow$ '
        r'& fps $\uparrow$ \\',
        r'    \midrule',
        r'    Z\textbar{}* & \textbf{0.612} & 0.600 & \textbf{0.550} & - \\',
        r'    \textit{Siam\_X} (published) & \underline{0.500} & \textbf{0.800} & - & - \\',
        r'    a\_b & 0.400 & \underline{0.700} & \underline{0.500} & \underline{61.2} \\',
        r'    last & 0.100 & 0.100 & 0.100 & \textbf{100.0} \\',
        r'    \bottomrule',
        r'  \end{tabular}',
        r'\end{table}',
    ]
    assert re.findall(r'caption\{.*: (.*)\.\}', page) == [
        'ranking',
        'success by attribute',
        'precision by attribute',
    ]


def test_published_rows_are_marked_and_replace_no_results(
    results: dict[str, OPEResult],
) -> None:
    rows = ranking_table(results, {'a_b': (0.4, 0.9), 'top': (0.9, 0.9)}).rows
    assert [(row.name, row.published) for row in rows] == [
        ('top', True),
        ('Z|*', False),
        ('a_b', False),
        ('a_b', True),
        ('last', False),
    ]


def test_equal_texts_have_the_same_rank() -> None:
    values = {'a': 0.50041, 'b': 0.49959, 'c': 0.3, 'd': 0.30049, 'e': 0.2}
    table = ranking_table({name: one_pass((value, 0.5, 0.5)) for name, value in values.items()}, {})
    assert [row.cells[0] for row in table.rows] == [
        Cell('0.500', 1),
        Cell('0.500', 1),
        Cell('0.300', 2),
        Cell('0.300', 2),
        Cell('0.200', 0),
    ]
    assert {row.cells[1] for row in table.rows} == {Cell('0.500', 0)}, 'no value is the best'


def test_speed_is_shown_only_if_measured(results: dict[str, OPEResult]) -> None:
    assert ranking_table(results, {}).header[-1] == 'fps ↑'
    assert ranking_table({'Z': results['Z|*']}, {}).header[-1] == 'Norm. precision ↑'


def test_single_tracker_is_not_marked_as_best(results: dict[str, OPEResult]) -> None:
    assert '**' not in markdown({'a_b': results['a_b']}, 'UAV20L', {})


def test_missing_value_is_a_dash() -> None:
    full, part = curves(0.5), curves(0.4)
    results = {
        'part': OPEResult(part, {'SV': part}, {'car': {0: part}}),
        'full': OPEResult(full, {'SV': full, 'FM': full}, {'car': {0: full}, 'bird': {0: full}}),
    }
    success, _ = attribute_tables(results)
    assert success.header == ['Tracker', 'SV', 'FM']
    assert success.rows[1] == Row('part', [Cell('0.400', 2), Cell('-')])
    assert sequence_tables(results)[0].rows[1] == Row('bird', [Cell('0.500'), Cell('-')])


def test_no_table_without_attributes(resets: dict[str, ResetResult]) -> None:
    assert attribute_tables({'a': OPEResult(curves(0.5), {}, {'car': {0: curves(0.5)}})}) == []
    assert attribute_tables(resets) == []


def test_rank(results: dict[str, OPEResult], resets: dict[str, ResetResult]) -> None:
    assert rank_trackers(results) == ['Z|*', 'a_b', 'last']
    assert rank_trackers(resets) == ['B', 'A']


names = st.text(st.characters(codec='utf-8') | st.sampled_from('\\|&%$#_{}~^<>*` \n'), min_size=1)


@settings(max_examples=50)
@example({'\x01': 0.5, '\x1b[31mred': 0.4})  # special to tabulate
@given(st.dictionaries(names, st.floats(0, 1), min_size=1, max_size=4))
def test_no_name_breaks_a_table(values: Mapping[str, float]) -> None:
    results = {name: one_pass((value, value, value)) for name, value in values.items()}
    text = markdown(results, 'title', {}).split('\n## Success by seq')[0]
    rows = [line for line in text.splitlines() if line.startswith('| ')]
    assert len(rows) == 3 * (1 + len(values)), 'three tables with a header each'
    for row in rows:
        assert len(re.findall(r'(?<!\\)(?:\\\\)*\|', row)) in (3, 5)
    page = latex(results, 'title', {})
    plain = re.sub(r'\\[&%$#_{}]', '', page)
    depth = 0
    for character in plain:
        depth += {'{': 1, '}': -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    for columns, body in re.findall(r'\{tabular\}\{(l+r+)\}(.*?)\\end\{tabular\}', plain, re.S):
        lines = [line for line in body.splitlines() if line.endswith(r'\\')]
        assert len(lines) == len(values) + 1
        assert {line.count('&') for line in lines} == {len(columns) - 1}
    assert not re.search(r'[%#_~^<>|]', re.sub(r'^%.*', '', plain))
