/** The targets of the watched tracker: state, score history, thumbnail, and which is selected. */

export const COLOURS = [ // distinct for colour-blind viewers (Okabe and Ito, 2008)
  '#50e63c', '#e69f00', '#56b4e9', '#cc79a7', '#f0e442', '#d55e00', '#0072b2', '#ffffff',
];
const THUMBNAIL = 112; // pixels
export const HISTORY = 120; // samples of the score that are kept
const SAMPLE_MS = 250;

export class Targets {
  /** `onChange(kind, target)`: started, stopped, lost, found or uncertain. */
  constructor(onChange) {
    this.onChange = onChange;
    this.byId = new Map();
    this.selected = ''; // an id
    this.expected = null; // {id, image} of a target that was given here and has no result yet
  }

  /** All targets, in the order of their numbers. */
  get all() {
    return [...this.byId.values()].sort((a, b) => a.number - b.number);
  }

  colour(id) {
    return COLOURS[((this.byId.get(id)?.number ?? 1) - 1) % COLOURS.length];
  }

  /** Select a target; none if the id is unknown. */
  select(id) {
    this.selected = this.byId.has(id) ? id : '';
  }

  clear() {
    this.byId.clear();
    this.selected = '';
    this.expected = null;
  }

  /** Take the targets of a result. */
  update(result) {
    const present = new Set(result.targets.map((each) => each.id));
    for (const target of this.all) {
      if (present.has(target.id)) continue;
      this.byId.delete(target.id);
      if (this.selected === target.id) this.selected = '';
      this.onChange('stopped', target);
    }
    for (const each of result.targets) this.#updateOne(each);
    if (this.expected) this.#takeGiven();
  }

  #updateOne(fields) {
    const before = this.byId.get(fields.id);
    if (!before || fields.processed < before.processed) { // new, or re-initialised
      const number = before?.number ?? this.#freeNumber();
      const target = { number, history: [], sampled: 0, lostAt: null, thumbnail: null, ...fields };
      this.byId.set(fields.id, target);
      if (!before) this.onChange('started', target);
      this.#follow(target, before?.state ?? 'TRACKING');
    } else {
      const state = before.state;
      Object.assign(before, fields);
      this.#follow(before, state);
    }
  }

  /** Update what depends on the time: the history, and since when the target is lost. */
  #follow(target, stateBefore) {
    const now = performance.now();
    if (target.state !== 'LOST') target.lostAt = null;
    else target.lostAt ??= now;
    if (target.state !== 'STARTING' && now - target.sampled >= SAMPLE_MS) {
      target.sampled = now;
      target.history.push({ score: target.score, state: target.state });
      if (target.history.length > HISTORY) target.history.shift();
    }
    if (target.state === stateBefore) return;
    if (target.state === 'LOST') this.onChange('lost', target);
    else if (stateBefore === 'LOST') this.onChange('found', target);
    else if (target.state === 'UNCERTAIN') this.onChange('uncertain', target);
  }

  /** Select a target that was just given here; the image is what it was started on, if known. */
  given(id, image) {
    this.expected = { id, image };
    this.#takeGiven();
  }

  /** The reply and the first result may come in any order. */
  #takeGiven() {
    const target = this.byId.get(this.expected?.id);
    if (!target) return;
    this.selected = target.id;
    target.thumbnail = this.expected.image ?? null;
    this.expected = null;
  }

  #freeNumber() {
    const used = new Set(this.all.map((target) => target.number));
    let number = 1;
    while (used.has(number)) number += 1;
    return number;
  }

  /** Cut thumbnails from a frame for the targets that have none yet. */
  cutThumbnails(frame, result) {
    for (const { id, box } of result.targets) {
      const target = this.byId.get(id);
      if (box && target && !target.thumbnail) target.thumbnail = thumbnail(frame, box);
    }
  }
}

/** Return a square canvas with the part of a frame in and a little around a box. */
export function thumbnail(frame, [x, y, w, h]) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = THUMBNAIL;
  const scale = frame.bitmap.width / frame.width; // the image may be smaller than the camera's
  const side = Math.max(w, h, 4) * 1.3;
  const [left, top] = [x + w / 2 - side / 2, y + h / 2 - side / 2];
  const source = [left, top, side, side].map((value) => value * scale);
  canvas.getContext('2d').drawImage(frame.bitmap, ...source, 0, 0, THUMBNAIL, THUMBNAIL);
  return canvas;
}
