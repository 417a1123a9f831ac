"""Tables of ranked results, as rows, as Markdown and as LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tabulate import tabulate

from siamffn_model.evaluation.metrics import Scores
from siamffn_model.evaluation.results import OPEResult, ResetResult, Results

Published = Mapping[str, tuple[float, float]]  # (success, precision) by tracker

MISSING = '-'  # shown instead of a missing value
LATEX_ESCAPES = {
    '\\': r'\textbackslash{}',
    **{character: f'\\{character}' for character in '&%$#_{}'},
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '↑': r'$\uparrow$',
    '↓': r'$\downarrow$',
}


class Cell(NamedTuple):
    """A value as text; `rank` is 1 for the best of its column or row, 2 for the second, else 0."""

    text: str
    rank: int = 0


class Row(NamedTuple):
    """A row of a table; `published` if its values are taken from a paper."""

    name: str
    cells: list[Cell]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a title.

    Attributes:
        title: e.g. 'Success by attribute'.
        header: for the names and for each value; an arrow shows in which direction is better.
        rows: with one cell per value.
    """

    title: str
    header: list[str]
    rows: list[Row]


class _Column(NamedTuple):
    header: str
    digits: int = 3
    lower_is_better: bool = False


FPS = _Column('fps ↑', 1)
OPE_COLUMNS = (_Column('Success ↑'), _Column('Precision ↑'), _Column('Norm. precision ↑'), FPS)
RESET_COLUMNS = (
    _Column('A ↑'),
    _Column('R ↓', lower_is_better=True),
    _Column('Failures ↓', 0, lower_is_better=True),
    _Column('EAO ↑'),
    FPS,
)


def markdown(results: Mapping[str, Results], title: str, published: Published) -> str:
    """Return all tables as a Markdown page, with the best in bold.

    See `ranking_table` for the arguments.
    """
    tables = [
        ranking_table(results, published),
        *difference_tables(results),
        *attribute_tables(results),
        *sequence_tables(results),
    ]
    return '\n'.join([f'# {_markdown_text(title)}\n', *map(_markdown_table, tables)])


def latex(results: Mapping[str, Results], title: str, published: Published) -> str:
    """Return the ranking and the tables by attribute as LaTeX, which needs the package booktabs.

    The best is bold and the second is underlined. See `ranking_table` for the arguments.
    """
    tables = [ranking_table(results, published), *attribute_tables(results)]
    return '\n'.join(
        [r'% Needs \usepackage{booktabs}.', *(_latex_table(table, title) for table in tables)]
    )


def ranking_table(results: Mapping[str, Results], published: Published) -> Table:
    """Return the scores of all trackers, best first, by success or EAO.

    Args:
        results: results by tracker, all of the same type.
        published: scores from papers by tracker; shown only with `OPEResult`s.
    """
    one_pass = all(isinstance(result, OPEResult) for result in results.values())
    columns, key = (OPE_COLUMNS, 0) if one_pass else (RESET_COLUMNS, 3)
    entries = [(name, False, _scores(result)) for name, result in results.items()]
    if one_pass:
        entries += [(name, True, (*two, math.nan, math.nan)) for name, two in published.items()]
    entries.sort(key=lambda entry: -entry[2][key])
    values = zip(*(scores for _, _, scores in entries))
    cells = [_cells(v, c.digits, c.lower_is_better) for v, c in zip(values, columns)]
    header = [column.header for column in columns]
    if all(result.fps is None for result in results.values()):
        header, cells = header[:-1], cells[:-1]
    rows = [
        Row(name, list(row), is_published)
        for (name, is_published, _), row in zip(entries, zip(*cells))
    ]
    return Table('Ranking', ['Tracker', *header], rows)


def difference_tables(results: Mapping[str, Results]) -> list[Table]:
    """Return the table of success with standard errors, and of differences to the first tracker.

    There is none unless sequences were run from several starts.
    """
    several = {
        name: result
        for name, result in results.items()
        if isinstance(result, OPEResult) and result.several_starts
    }
    if not several:
        return []
    first = next(iter(several))
    rows = []
    for name in rank_trackers(several):
        difference = several[name].difference(several[first])
        values = several[name].score, several[name].standard_error
        texts = [
            f'{values[0]:.3f}',
            f'{values[1]:.3f}',
            f'{difference[0]:+.3f}',
            f'{difference[1]:.3f}',
        ]
        rows.append(Row(name, [Cell(text) for text in texts]))
    header = ['Tracker', 'Success ↑', 'std. error', f'difference to {first}', 'its std. error']
    return [Table('Success with standard error', header, rows)]


def attribute_tables(results: Mapping[str, Results]) -> list[Table]:
    """Return the tables of success and precision by attribute; none without attributes."""
    ranked = {name: results[name] for name in rank_trackers(results)}
    scores = {
        name: {attribute: curves.scores for attribute, curves in result.per_attribute.items()}
        for name, result in ranked.items()
        if isinstance(result, OPEResult)
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


def sequence_tables(results: Mapping[str, Results]) -> list[Table]:
    """Return the tables of success, or of accuracy and failures, by sequence."""
    ranked = {name: results[name] for name in rank_trackers(results)}
    success = {
        name: {sequence: curves.scores.success for sequence, curves in r.per_sequence.items()}
        for name, r in ranked.items()
        if isinstance(r, OPEResult)
    }
    resets = {name: r.per_sequence for name, r in ranked.items() if isinstance(r, ResetResult)}
    if not resets:
        return [_sequence_table('Success by sequence', success)]
    accuracy = {name: {s: a for s, (a, _) in values.items()} for name, values in resets.items()}
    failures = {name: {s: float(n) for s, (_, n) in r.items()} for name, r in resets.items()}
    return [
        _sequence_table('Accuracy by sequence', accuracy),
        _sequence_table('Failures by sequence', failures, digits=0, lower_is_better=True),
    ]


def rank_trackers(results: Mapping[str, Results]) -> list[str]:
    """Return the names of the trackers, best first, by success or EAO."""
    return sorted(results, key=lambda name: -results[name].score)


def _scores(result: Results) -> tuple[float, ...]:
    """Return the values of the columns of `ranking_table`."""
    fps = math.nan if result.fps is None else result.fps
    if isinstance(result, OPEResult):
        return (*result.curves.scores, fps)
    return result.accuracy, result.robustness, result.failures, result.eao, fps


def _sequence_table(
    title: str,
    values: Mapping[str, Mapping[str, float]],
    digits: int = 3,
    lower_is_better: bool = False,
) -> Table:
    names = list(dict.fromkeys(name for tracker in values.values() for name in tracker))
    rows = [
        Row(name, _cells([v.get(name, math.nan) for v in values.values()], digits, lower_is_better))
        for name in names
    ]
    return Table(title, ['Sequence', *values], rows)


def _cells(values: Iterable[float], digits: int = 3, lower_is_better: bool = False) -> list[Cell]:
    """Format and rank values of one comparison; none is the best if all have the same text."""
    texts = [MISSING if math.isnan(value) else f'{value:.{digits}f}' for value in values]
    distinct = {float(text) for text in texts if text != MISSING}
    best = sorted(distinct, reverse=not lower_is_better)[:2] if len(distinct) > 1 else []
    ranks = {value: rank for rank, value in enumerate(best, 1)}
    return [Cell(t, 0 if t == MISSING else ranks.get(float(t), 0)) for t in texts]


def _markdown_table(table: Table) -> str:
    rows = []
    for row in table.rows:
        name = _markdown_text(row.name)
        cells = [f'**{cell.text}**' if cell.rank == 1 else cell.text for cell in row.cells]
        rows.append([f'*{name}* (published)' if row.published else name, *cells])
    header = [_markdown_text(text) for text in table.header]
    alignment = ['left', *['right'] * (len(header) - 1)]
    text = tabulate(rows, header, 'pipe', disable_numparse=True, colalign=alignment)
    return f'## {table.title}\n\n{text}\n'


def _markdown_text(text: str) -> str:
    printable = ''.join(c if c.isprintable() else '\ufffd' for c in ' '.join(text.split()))
    return re.sub(r'([\\`*_\[\]<>|&~#$])', r'\\\1', printable)


def _latex_table(table: Table, title: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return ' & '.join(cells) + r' \\'

    formats = '{}', r'\textbf{{{}}}', r'\underline{{{}}}'
    rows = []
    for row in table.rows:
        name = _latex_text(row.name)
        cells = [formats[cell.rank].format(_latex_text(cell.text)) for cell in row.cells]
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
    return ''.join(LATEX_ESCAPES.get(character, character) for character in ' '.join(text.split()))
