/** The canvas of the live picture: drawn when something changed, at most once a display frame. */

import { clamp, fit } from './helpers.js';
import { drawBox, drawFrame, drawLabel, toCanvas } from './render.js';

const RESIZE_MS = 250;
const PENDING = { colour: '#ffffff', state: 'UNCERTAIN' };
const REFUSED = { colour: '#ff5d52', state: 'UNCERTAIN' };

export class Picture {
  /**
   * `scene()` returns what to draw: {frame, result, draft, pending, refused}; the last three are
   * lists of {box} or {point} with an optional label. `onResize({width, height})` gets the size of
   * the picture in device pixels.
   */
  constructor(canvas, targets, scene, onResize) {
    this.canvas = canvas;
    this.targets = targets;
    this.scene = scene;
    this.onResize = onResize;
    this.context = canvas.getContext('2d', { alpha: false });
    this.size = null; // of the camera's image
    this.dirty = false;
    new ResizeObserver(() => this.#resize()).observe(canvas); // called once now
  }

  /** Ask for a new drawing. */
  invalidate() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => this.#draw());
  }

  /** Where the picture lies in the canvas. */
  get view() {
    return fit(this.size ?? this.canvas, this.canvas);
  }

  /** Size of lines and text in pixels of the canvas: a CSS pixel, more on very large screens. */
  get unit() {
    return (this.pixel * parseFloat(getComputedStyle(document.documentElement).fontSize)) / 16;
  }

  /** Size of a CSS pixel in pixels of the canvas. */
  get pixel() {
    return this.canvas.width / Math.max(1, this.canvas.clientWidth);
  }

  /** Return a place on the page in pixels of the camera, within the image. */
  toCamera(clientX, clientY) {
    const bounds = this.canvas.getBoundingClientRect();
    const { x, y, scale } = this.view;
    const across = ((clientX - bounds.left) * this.pixel - x) / scale;
    const down = ((clientY - bounds.top) * this.pixel - y) / scale;
    return { x: clamp(across, 0, this.size.width), y: clamp(down, 0, this.size.height) };
  }

  /** Return a place in pixels of the camera in CSS pixels of the canvas. */
  fromCamera({ x, y }) {
    const { view, pixel } = this;
    return { x: (view.x + x * view.scale) / pixel, y: (view.y + y * view.scale) / pixel };
  }

  #resize() {
    const ratio = devicePixelRatio;
    const { clientWidth, clientHeight } = this.canvas;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (width !== this.canvas.width || height !== this.canvas.height) {
      [this.canvas.width, this.canvas.height] = [Math.max(1, width), Math.max(1, height)];
      this.#draw();
    }
    this.report();
  }

  /** Report the size of the picture soon, once for several changes. */
  report() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const { width, height } = this.view;
      const [across, down] = [width, height].map((side) => clamp(Math.round(side), 1, 16384));
      this.onResize({ width: across, height: down });
    }, RESIZE_MS);
  }

  #draw() {
    this.dirty = false;
    const { context, canvas, targets } = this;
    const { frame, result, draft, pending, refused } = this.scene();
    context.fillStyle = '#07090c';
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!frame) return;
    canvas.dataset.stamp = frame.stamp;
    if (frame.width !== this.size?.width || frame.height !== this.size?.height) {
      this.size = { width: frame.width, height: frame.height };
      this.canvas.parentElement.style.setProperty('--aspect', frame.width / frame.height);
      this.report();
    }
    drawFrame(context, { frame, result, targets, view: this.view, unit: this.unit });
    for (const each of pending) this.#drawMark(each, PENDING);
    for (const each of refused) this.#drawMark(each, REFUSED);
    for (const each of draft) this.#drawMark(each, { colour: '#ffffff' });
    if (result) targets.cutThumbnails(frame, result);
  }

  #drawMark({ box, point, label }, look) {
    const { context, view, unit } = this;
    const side = (20 * unit) / view.scale;
    const [x, y, w, h] = box ?? [point.x - side / 2, point.y - side / 2, side, side];
    const place = toCanvas([x, y, w, h], view);
    drawBox(context, place, { ...look, unit });
    if (label) drawLabel(context, place, label, view, { colour: look.colour, unit });
  }
}
