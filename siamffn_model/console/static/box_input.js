/**
 * Give a target: drag a box in any direction with mouse, touch or pen, or draw it by keys.
 *
 * The picture is frozen from the first contact to the end, and the box belongs to that frame.
 */

import { boxBetween, clamp, contains } from './helpers.js';

const CLICK_PX = 4; // a shorter movement is a click
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};
const round = (value) => Math.round(value * 100) / 100;

export class BoxInput {
  /**
   * `onGive({frame, box | point, id})` gets what was drawn; the id is empty for a new target.
   * `onSelect(id)` gets the target whose box was clicked. `onChange()` is called when something is
   * to be drawn. `isEnabled()` says whether a target can be given.
   */
  constructor(picture, frames, targets, { onGive, onSelect, onChange, isEnabled }) {
    Object.assign(this, { picture, frames, targets, onGive, onSelect, onChange, isEnabled });
    this.draft = null; // what is being drawn: {frame, id, start, box, byKeys, moved, pointer}
    this.armed = ''; // the id of the target that the next box re-initialises
    const { canvas } = picture;
    canvas.addEventListener('pointerdown', (event) => this.#down(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    canvas.addEventListener('pointerup', (event) => this.#up(event));
    canvas.addEventListener('pointercancel', () => this.cancel());
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('keydown', (event) => this.#key(event));
    document.addEventListener('fullscreenchange', () => this.cancel()); // Escape ends it, too
  }

  /** Re-initialise this target by the next box. */
  arm(id) {
    this.cancel();
    this.armed = id;
    this.picture.canvas.focus({ preventScroll: true });
    this.onChange();
  }

  /** End drawing without giving a target; returns whether there was something to end. */
  cancel() {
    const active = Boolean(this.draft || this.armed);
    this.armed = '';
    this.#end();
    return active;
  }

  #begin(fields) {
    this.#end();
    const frame = this.frames.current;
    this.frames.hold(frame);
    this.draft = { frame, box: null, ...fields };
    this.onChange();
  }

  #end() {
    if (this.draft) this.frames.release(this.draft.frame);
    this.draft = null;
    this.onChange();
  }

  #boxesOf(frame) {
    return (this.frames.resultOf(frame)?.targets ?? []).filter((each) => each.box);
  }

  // --- pointer

  #down(event) {
    if (!event.isPrimary) this.cancel(); // a second finger: not a box
    if (!event.isPrimary || event.button !== 0 || !this.frames.current || !this.isEnabled()) return;
    const frame = this.frames.current;
    const start = this.picture.toCamera(event.clientX, event.clientY);
    const selected = this.#boxesOf(frame).find((each) => each.id === this.targets.selected);
    const inSelected = selected && contains(selected.box, start);
    const id = this.armed || (inSelected ? selected.id : '');
    event.target.setPointerCapture(event.pointerId);
    const pointer = { x: event.clientX, y: event.clientY };
    this.#begin({ id, start, pointer, moved: false, byKeys: false });
  }

  #move(event) {
    const { draft } = this;
    if (!draft || draft.byKeys || !event.isPrimary) return;
    const { x, y } = draft.pointer;
    draft.moved ||= Math.hypot(event.clientX - x, event.clientY - y) >= CLICK_PX;
    if (!draft.moved) return;
    draft.box = boxBetween(draft.start, this.picture.toCamera(event.clientX, event.clientY));
    this.onChange();
  }

  #up(event) {
    const { draft } = this;
    if (!draft || draft.byKeys || !event.isPrimary) return;
    this.#move(event);
    if (draft.moved) {
      this.#give({ box: draft.box });
      return;
    }
    const clicked = this.#boxesOf(draft.frame).filter((each) => contains(each.box, draft.start));
    clicked.sort((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3]);
    if (clicked.length && !this.armed) {
      this.#end();
      this.onSelect(clicked[0].id);
    } else {
      draft.id = this.armed;
      this.#give({ point: draft.start });
    }
  }

  #give({ box, point }) {
    const { frame, id } = this.draft;
    this.armed = '';
    if (box) this.onGive({ frame, id, box: box.map(round) });
    else this.onGive({ frame, id, point: { x: round(point.x), y: round(point.y) } });
    this.#end();
  }

  // --- keys

  #key(event) {
    if (event.altKey || event.metaKey) return;
    if (event.key === 'Enter') this.#enter();
    else if (!this.draft?.byKeys || !this.#adjust(event)) return;
    event.preventDefault();
  }

  #enter() {
    if (this.draft) {
      if (this.draft.byKeys) this.#give({ box: this.draft.box });
      return;
    }
    const frame = this.frames.current;
    if (!frame || !this.isEnabled()) return;
    const id = this.armed || this.targets.selected;
    const known = this.#boxesOf(frame).find((each) => each.id === id);
    const [w, h] = [frame.width / 5, frame.height / 5];
    const box = known?.box ?? [(frame.width - w) / 2, (frame.height - h) / 2, w, h];
    this.#begin({ id, box: [...box], byKeys: true });
  }

  /** Move the box, or with Shift its lower right corner; returns whether it was such a key. */
  #adjust(event) {
    const direction = ARROWS[event.key];
    if (!direction) return false;
    const { frame, box } = this.draft;
    const step = event.ctrlKey ? 1 : Math.max(1, Math.round(frame.width / 80));
    const [right, down] = direction.map((each) => each * step);
    if (event.shiftKey) {
      box[2] = clamp(box[2] + right, 2, frame.width - box[0]);
      box[3] = clamp(box[3] + down, 2, frame.height - box[1]);
    } else {
      box[0] = clamp(box[0] + right, 0, frame.width - box[2]);
      box[1] = clamp(box[1] + down, 0, frame.height - box[3]);
    }
    this.onChange();
    return true;
  }
}
