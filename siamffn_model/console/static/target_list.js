/** The list of targets beside the picture. */

import { create, duration, icon, setText } from './helpers.js';
import { HISTORY } from './targets.js';

export class TargetList {
  /** The callbacks get an id: `onSelect`, `onStop`, `onRedraw`. */
  constructor(list, targets, callbacks) {
    this.list = list;
    this.targets = targets;
    this.callbacks = callbacks;
    this.rows = new Map(); // by id
  }

  /**
   * Show the targets as they are now; `connected` enables the buttons. A `standstill` is shown
   * instead of their states.
   */
  refresh(connected, standstill) {
    const all = this.targets.all;
    for (const [id, row] of this.rows) {
      if (!this.targets.byId.has(id)) {
        row.item.remove();
        this.rows.delete(id);
      }
    }
    all.forEach((target, index) => {
      const row = this.rows.get(target.id) ?? this.#createRow(target.id);
      const there = this.list.children[index];
      if (there !== row.item) this.list.insertBefore(row.item, there ?? null);
      this.#update(row, target, connected, standstill);
    });
  }

  #createRow(id) {
    const item = create('li', 'target');
    const pick = create('button', 'pick');
    pick.onclick = () => this.callbacks.onSelect(id);
    const row = {
      item,
      pick,
      thumb: create('span', 'thumb'),
      key: create('span', 'key'),
      id: create('span', 'id', id),
      state: create('span', 'state'),
      score: create('span', 'score'),
      spark: create('canvas', 'spark'),
      note: create('span', 'note'),
    };
    row.spark.setAttribute('aria-hidden', 'true');
    const title = create('span', 'title');
    title.append(row.key, row.id);
    const values = create('span', 'values');
    values.append(row.state, row.score);
    const text = create('span', 'text');
    text.append(title, values, row.note);
    pick.append(row.thumb, text);
    const actions = create('div', 'actions');
    const { onRedraw, onStop } = this.callbacks;
    row.redraw = action('redraw', `Re-initialise ${id}: draw a new box`, () => onRedraw(id));
    row.stop = action('stop', `Stop ${id}`, () => onStop(id));
    actions.append(row.redraw, row.stop, row.spark);
    item.append(pick, actions);
    this.rows.set(id, row);
    return row;
  }

  #update(row, target, connected, standstill) {
    const selected = this.targets.selected === target.id;
    row.item.dataset.state = standstill || target.state;
    row.item.style.setProperty('--colour', this.targets.colour(target.id));
    row.pick.setAttribute('aria-pressed', String(selected));
    row.redraw.disabled = row.stop.disabled = !connected;
    setText(row.key, String(target.number));
    setText(row.state, standstill || target.state);
    setText(row.score, standstill ? '–' : target.score.toFixed(2));
    setText(row.note, noteOf(target, standstill));
    if (target.thumbnail && row.thumb.firstChild !== target.thumbnail) {
      row.thumb.replaceChildren(target.thumbnail);
    }
    if (row.drawn !== target.sampled) drawSparkline(row.spark, target.history);
    row.drawn = target.sampled;
  }
}

function action(name, label, onClick) {
  const button = create('button', 'icon');
  button.title = label;
  button.setAttribute('aria-label', label);
  button.append(icon(name));
  button.onclick = onClick;
  return button;
}

function noteOf(target, standstill) {
  const since = performance.now() - target.lostAt;
  const lost = target.lostAt === null ? '' : `lost for ${duration(since)}`;
  const before = standstill && `last ${target.state}`;
  const given = target.operator ? `given by ${target.operator}` : '';
  const parts = [standstill ? before : lost, given].filter(Boolean);
  return parts.join(', ') || `${target.ms.toFixed(0)} ms per image`;
}

/** Draw the scores, 0 to 1, from left to right; where the target was lost there is a bar below. */
function drawSparkline(canvas, history) {
  const ratio = devicePixelRatio;
  const { clientWidth: width, clientHeight: height } = canvas;
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const context = canvas.getContext('2d');
  const style = getComputedStyle(canvas);
  context.scale(ratio, ratio);
  context.fillStyle = style.getPropertyValue('--line');
  context.fillRect(0, height - 1, width, 1);
  context.fillStyle = style.getPropertyValue('--bad');
  context.strokeStyle = style.color;
  context.lineWidth = 1.25;
  const step = width / (HISTORY - 1);
  const first = width - (history.length - 1) * step;
  context.beginPath();
  history.forEach(({ score, state }, index) => {
    const [x, y] = [first + index * step, 1 + (height - 5) * (1 - score)];
    context.lineTo(x, y);
    if (state === 'LOST') context.fillRect(x - step, height - 2, step + 0.2, 2);
  });
  context.stroke();
}
