"""Tables of what trackers reached, ranked: as Markdown, as LaTeX, or as rows to show otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tabulate import tabulate

from siamffn_model.evaluation.metrics import Scores
from siamffn_model.evaluation.results import OnePass, Results, WithResets

Published = Mapping[str, tuple[float, float]]  # success and precision by tracker, as papers have it

NONE = '-'  # stands where there is no value
TEX = {
    '\\': r'\textbackslash{}',
    **{sign: f'\\{sign}' for sign in '&%$#_{}'},
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '↑': r'$\uparrow$',
    '↓': r'$\downarrow$',
}


class Cell(NamedTuple):
    """A value as it is shown; `place` is 1 for the best compared with it, 2 for the second."""

    text: str
    place: int = 0


class Row(NamedTuple):
    """A line of a table; `published` where a paper says so and nothing was scored here."""

    name: str
    cells: list[Cell]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A table to be shown.

    Attributes:
        header: over the names and over each value; an arrow points to where it is better.
        rows: each with a cell for every value.
    """

    title: str
    header: list[str]
    rows: list[Row]


class _Column(NamedTuple):
    header: str
    digits: int = 3
    lower: bool = False  # is better


FPS = _Column('fps ↑', 1)
ONE_PASS = (_Column('Success ↑'), _Column('Precision ↑'), _Column('Norm. precision ↑'), FPS)
WITH_RESETS = (
    _Column('A ↑'),
    _Column('R ↓', lower=True),
    _Column('Failures ↓', 0, lower=True),
    _Column('EAO ↑'),
    FPS,
)


def markdown(results: Mapping[str, Results], title: str, published: Published) -> str:
    """Return all tables as a Markdown page, the best bold; arguments are those of `ranked`."""
    tables = [ranked(results, published), *by_attribute(results), *by_sequence(results)]
    return '\n'.join([f'# {_markdown_text(title)}\n', *map(_markdown_table, tables)])


def latex(results: Mapping[str, Results], title: str, published: Published) -> str:
    """Return the tables without that of sequences in LaTeX, for which it needs booktabs.

    The best is bold and the second underlined; arguments are those of `ranked`.
    """
    tables = [ranked(results, published), *by_attribute(results)]
    return '\n'.join(
        [r'% Needs \usepackage{booktabs}.', *(_latex_table(table, title) for table in tables)]
    )


def ranked(results: Mapping[str, Results], published: Published) -> Table:
    """Return the scores of all trackers, best first: by success, or by EAO.

    Args:
        results: by tracker, all of one kind.
        published: rows to compare with where `results` are of one pass.
    """
    one_pass = all(isinstance(result, OnePass) for result in results.values())
    columns, key = (ONE_PASS, 0) if one_pass else (WITH_RESETS, 3)
    lines = [(name, False, _scores(result)) for name, result in results.items()]
    if one_pass:
        lines += [(name, True, (*two, math.nan, math.nan)) for name, two in published.items()]
    lines.sort(key=lambda line: -line[2][key])
    cells = [_cells(v, c.digits, c.lower) for v, c in zip(zip(*(v for _, _, v in lines)), columns)]
    header = [column.header for column in columns]
    if all(result.fps is None for result in results.values()):
        header, cells = header[:-1], cells[:-1]
    rows = [Row(name, list(row), told) for (name, told, _), row in zip(lines, zip(*cells))]
    return Table('Ranking', ['Tracker', *header], rows)


def by_attribute(results: Mapping[str, Results]) -> list[Table]:
    """Return success and precision by attribute; no tables where there are no attributes."""
    shown = {name: results[name] for name in rank(results)}
    scores = {
        name: {attribute: curves.scores for attribute, curves in result.per_attribute.items()}
        for name, result in shown.items()
        if isinstance(result, OnePass)
    }
    attributes = list(dict.fromkeys(a for tracker in scores.values() for a in tracker))
    if not attributes:
        return []
    missing = Scores(math.nan, math.nan, math.nan)

    def table(title: str, score: int) -> Table:
        columns = [
            _cells([tracker.get(attribute, missing)[score] for tracker in scores.values()])
            for attribute in attributes
        ]
        rows = [Row(name, list(cells)) for name, cells in zip(scores, zip(*columns))]
        return Table(title, ['Tracker', *attributes], rows)

    return [table('Success by attribute', 0), table('Precision by attribute', 1)]


def by_sequence(results: Mapping[str, Results]) -> list[Table]:
    """Return success, or accuracy and failures, with a row for each sequence."""
    shown = {name: results[name] for name in rank(results)}
    success = {
        name: {sequence: curves.scores.success for sequence, curves in r.per_sequence.items()}
        for name, r in shown.items()
        if isinstance(r, OnePass)
    }
    resets = {name: r.per_sequence for name, r in shown.items() if isinstance(r, WithResets)}
    if not resets:
        return [_by_sequence('Success by sequence', success)]
    accuracy = {name: {s: a for s, (a, _) in values.items()} for name, values in resets.items()}
    failures = {name: {s: float(n) for s, (_, n) in r.items()} for name, r in resets.items()}
    return [
        _by_sequence('Accuracy by sequence', accuracy),
        _by_sequence('Failures by sequence', failures, digits=0, lower=True),
    ]


def rank(results: Mapping[str, Results]) -> list[str]:
    """Return the trackers' names, best first: by success, or by EAO."""
    return sorted(results, key=lambda name: -results[name].score)


def _scores(result: Results) -> tuple[float, ...]:
    """Return the values of the columns of `ranked`."""
    fps = math.nan if result.fps is None else result.fps
    if isinstance(result, OnePass):
        return (*result.curves.scores, fps)
    return result.accuracy, result.robustness, result.failures, result.eao, fps


def _by_sequence(
    title: str, values: Mapping[str, Mapping[str, float]], digits: int = 3, lower: bool = False
) -> Table:
    names = list(dict.fromkeys(name for tracker in values.values() for name in tracker))
    rows = [
        Row(name, _cells([v.get(name, math.nan) for v in values.values()], digits, lower))
        for name in names
    ]
    return Table(title, ['Sequence', *values], rows)


def _cells(values: Iterable[float], digits: int = 3, lower: bool = False) -> list[Cell]:
    """Show values that compare with each other; none is best where all are shown alike."""
    texts = [NONE if math.isnan(value) else f'{value:.{digits}f}' for value in values]
    steps = sorted({float(text) for text in texts if text != NONE}, reverse=not lower)
    places = {step: place for place, step in enumerate(steps[:2], 1)} if len(steps) > 1 else {}
    return [Cell(t, 0 if t == NONE else places.get(float(t), 0)) for t in texts]


def _markdown_table(table: Table) -> str:
    rows = []
    for row in table.rows:
        name = _markdown_text(row.name)
        cells = [f'**{cell.text}**' if cell.place == 1 else cell.text for cell in row.cells]
        rows.append([f'*{name}* (published)' if row.published else name, *cells])
    header = [_markdown_text(text) for text in table.header]
    alignment = ['left', *['right'] * (len(header) - 1)]
    text = tabulate(rows, header, 'pipe', disable_numparse=True, colalign=alignment)
    return f'## {table.title}\n\n{text}\n'


def _markdown_text(text: str) -> str:
    return re.sub(r'([\\`*_\[\]<>|&~#$])', r'\\\1', ' '.join(text.split()))


def _latex_table(table: Table, title: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return ' & '.join(cells) + r' \\'

    marks = '{}', r'\textbf{{{}}}', r'\underline{{{}}}'
    rows = []
    for row in table.rows:
        name = _latex_text(row.name)
        cells = [marks[cell.place].format(_latex_text(cell.text)) for cell in row.cells]
        rows.append(line([rf'\textit{{{name}}} (published)' if row.published else name, *cells]))
    return '\n'.join(
        [
            r'\begin{table}',
            r'  \centering',
            r'  \footnotesize',
            r'  \setlength{\tabcolsep}{3pt}',
            rf'  \caption{{{_latex_text(title)}: {table.title.lower()}.}}',
            rf'  \begin{{tabular}}{{l{"r" * (len(table.header) - 1)}}}',
            r'    \toprule',
            '    ' + line([_latex_text(text) for text in table.header]),
            r'    \midrule',
            *(f'    {row}' for row in rows),
            r'    \bottomrule',
            r'  \end{tabular}',
            r'\end{table}',
            '',
        ]
    )


def _latex_text(text: str) -> str:
    return ''.join(TEX.get(sign, sign) for sign in ' '.join(text.split()))
