/** Boxes that wait for their reply, and the refusal that is shown where the box was drawn. */

import { byId, clamp, setText } from './helpers.js';
import { thumbnail } from './targets.js';

const REFUSAL_MS = 8000;
const GAP = 8; // CSS pixels between a box and its refusal

export class Requests {
  /**
   * `obstacle()` says when a target that is given now starts, if not at once. `onChange()` is
   * called when something is to be drawn.
   */
  constructor(connection, targets, picture, log, obstacle, onChange) {
    Object.assign(this, { connection, targets, picture, log, obstacle, onChange });
    this.pending = new Set(); // of {box | point, label}
    this.held = new Map(); // by id: those that were given and can start only later
    this.refused = null; // {box | point}, or {} for a refusal that belongs to no place
  }

  /** What to draw: the boxes and points that have no result yet. */
  get marks() {
    return [...this.pending, ...this.held.values()];
  }

  /** Forget what was to start later: results come again. */
  forget() {
    this.held.clear();
  }

  /** Send a request; a refusal is shown and logged. Returns the reply. */
  async send(type, fields, what) {
    this.clearRefusal();
    const reply = await this.connection.request(type, fields);
    if (!reply.ok) this.refuse({}, `${what}: ${reply.message}`);
    return reply;
  }

  /** Give a target by a box or a point on a frame; the id is empty for a new one. */
  async give({ frame, id, box, point }) {
    this.clearRefusal();
    const label = id ? `re-initialising ${id}` : 'starting';
    const mark = { box, point, label };
    const image = box && thumbnail(frame, box);
    this.pending.add(mark);
    this.onChange();
    const fields = { stamp: frame.stamp, target_id: id };
    const reply = box
      ? await this.connection.request('init', { ...fields, box })
      : await this.connection.request('point', { ...fields, point: [point.x, point.y], radius: 0 });
    this.pending.delete(mark);
    if (reply.ok) {
      this.targets.given(reply.target_id, image);
      const obstacle = this.obstacle();
      if (obstacle) {
        const label = `${reply.target_id} starts ${obstacle}`;
        this.held.set(reply.target_id, { box: reply.box, label });
        this.log.report(label);
      }
    } else {
      this.refuse(mark, reply.message);
    }
    this.onChange();
  }

  clearRefusal() {
    clearTimeout(this.timer);
    if (!this.refused) return false;
    this.refused = null;
    byId('refusal').hidden = true;
    this.onChange();
    return true;
  }

  /** Show and log a refusal where its box or point is; at the bottom of the picture for {}. */
  refuse(mark, message) {
    this.clearRefusal();
    this.refused = { box: mark.box, point: mark.point };
    setText(byId('refusal'), message);
    byId('refusal').hidden = false;
    this.place();
    this.log.report(message, { level: 'bad' });
    this.timer = setTimeout(() => this.clearRefusal(), REFUSAL_MS);
    this.onChange();
  }

  /** Put the refusal below its box, or above it, or at the bottom of the picture. */
  place() {
    if (!this.refused) return;
    const bubble = byId('refusal');
    const { box, point } = this.refused;
    const stage = bubble.parentElement;
    bubble.classList.toggle('placed', Boolean(box || point));
    bubble.style.left = bubble.style.top = '';
    if (!box && !point) return;
    const [x, y, w, h] = box ?? [point.x, point.y, 0, 0];
    const corner = this.picture.fromCamera({ x, y });
    const opposite = this.picture.fromCamera({ x: x + w, y: y + h });
    const gap = point ? GAP + 10 : GAP;
    const fitsBelow = opposite.y + gap + bubble.offsetHeight <= stage.clientHeight - GAP;
    const top = fitsBelow ? opposite.y + gap : corner.y - gap - bubble.offsetHeight;
    const left = (corner.x + opposite.x - bubble.offsetWidth) / 2;
    const right = Math.max(GAP, stage.clientWidth - bubble.offsetWidth - GAP);
    const bottom = Math.max(GAP, stage.clientHeight - bubble.offsetHeight - GAP);
    bubble.style.left = `${clamp(left, GAP, right)}px`;
    bubble.style.top = `${clamp(top, GAP, bottom)}px`;
  }
}
