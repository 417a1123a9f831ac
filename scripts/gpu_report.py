"""The report of a GPU run, from its results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from siamffn_model.networks.names import DEFAULT_MODEL


def report(results: dict[str, Any]) -> str:
    """Return a Markdown page: machine, command, targets beside measurements, and the steps."""
    steps = results['steps']
    machine = steps.get('benchmark', {}).get('machine', {})
    rows = [f'| {name} | {_text(value)} |' for name, value in machine.items()]
    lines = ['# GPU run', '', f'`{results["command"]}`', '', *_table('machine | ', rows)]
    lines += _table('target | measured', [f'| {name} | {v} |' for name, v in _targets(steps)])
    if not steps.get('benchmark', {}).get('tables'):  # it was stopped before it printed them
        lines += _targets_table(steps.get('benchmark', {}).get('targets', []))
    for name, step in steps.items():
        lines += [f'## {name}: {step["status"]}', '']
        values = {k: v for k, v in step.items() if isinstance(v, str | int | float | list)}
        values |= {k: v for k, v in step.items() if k in ('final', 'best', 'start', 'hardware')}
        lines += [f'- {k}: {_text(v)}' for k, v in values.items() if k not in HIDDEN]
        lines += ['', '```', step['output'], '```'] if step.get('output') else []
        lines += ['', step['tables']] if step.get('tables') else []
        lines += ['']
    return '\n'.join(lines)


HIDDEN = ('status', 'output', 'tables', 'stages', 'trackers', 'targets', 'sizes')


def _targets_table(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        f'| {r["name"]}, {r["targets"]} | {r["update"]:.3f} | {r["updates_per_second"]:.0f} |'
        for r in results
    ]
    return _table('tracker, targets | update of all, ms | target updates/s', rows)


def _table(header: str, rows: list[str]) -> list[str]:
    columns = header.count('|') + 1
    return [f'| {header} |', '|' + '---|' * columns, *rows, ''] if rows else []


def _targets(steps: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the targets for an H200 and what was measured."""
    results = {
        (r['name'].partition(',')[0], r['targets']): r
        for r in steps.get('benchmark', {}).get('targets', [])
    }

    def rate(model: str, targets: int) -> float | None:
        result = results.get((model, targets))
        return result and result['updates_per_second']

    ours, baseline = rate('siamffn_r50', 1), rate('siamban_r50', 1)
    speedup = ours / baseline if ours and baseline else None
    yield '`siamffn_r50`, one target: at least 400 updates/s', _text(ours)
    yield '`siamffn_r50`: at least 6 times as fast as `siamban_r50` eager', _text(speedup)
    yield (
        '`siamffn_r50`, 16 targets: at least 1,500 target updates/s',
        _text(rate('siamffn_r50', 16)),
    )
    default = rate(DEFAULT_MODEL, 1)
    yield f'`{DEFAULT_MODEL}`, one target: at least 1,500 updates/s', _text(default)
    for name, target in (('speed_r50', '800'), ('speed', '4,000')):
        step = steps.get(name, {})
        text = f'training of `{step.get("model", "siamffn_r50" if name != "speed" else "default")}`'
        measured = (
            f'{_text(step["with_data"])} ({_text(step["fixed_batch"])} with a fixed batch)'
            if 'with_data' in step
            else _text(None)
        )
        yield f'{text}: at least {target} pairs/s', measured


def _text(value: Any) -> str:
    if value is None:
        return 'not measured'
    if isinstance(value, float):
        return f'{value:.4g}' if value < 1000 else f'{value:.0f}'
    if isinstance(value, dict):
        return ', '.join(f'{key} {_text(item)}' for key, item in value.items())
    return ', '.join(map(_text, value)) if isinstance(value, list) else str(value)
