/**
 * The newest images, paired with the results of the tracker by their stamp.
 *
 * An image is shown when its result has come. It is shown without boxes at once if there are no
 * targets, and when results have stopped.
 */

const WAIT_MS = 150; // for a result; longer for a tracker with fewer than 13 results a second
const MAX_WAIT_MS = 1000;
const MAX_STILL_MS = 500; // the picture moves at least so often, with or without boxes
const SILENT_MS = 2000; // without an image, more for a slow camera
const MAX_FRAMES = 12; // decoded images that wait
const MAX_DECODING = 3;
const MAX_RESULTS = 64;

export class FrameQueue {
  /** `onShow` is called when another image, or the same one with a result, is to be drawn. */
  constructor(onShow) {
    this.onShow = onShow;
    this.reset();
  }

  /** Forget everything, for another tracker. */
  reset() {
    this.restart();
    this.#close(this.current);
    this.current = null; // the frame to show
  }

  /** Forget what was received, for another connection; the picture stays until the next image. */
  restart() {
    clearTimeout(this.timer);
    for (const frame of this.waiting ?? []) frame.bitmap.close();
    this.waiting = []; // in the order of their sequence numbers
    this.results = new Map(); // by stamp
    this.last = null; // the newest result
    this.lastResult = this.lastShown = -Infinity;
    this.lastImage = performance.now();
    this.imageInterval = 0; // smoothed
    this.interval = 0; // between results, smoothed
    this.decoding = 0;
    this.era = (this.era ?? 0) + 1;
    this.paused = false;
    if (this.current) this.current.sequence = -1; // the numbers begin anew
  }

  /** Return the result for this frame, or null. */
  resultOf(frame) {
    return (frame && this.results.get(frame.stamp)) || null;
  }

  /** Milliseconds since the newest result. */
  get silence() {
    return performance.now() - this.lastResult;
  }

  /** Milliseconds since the newest image; 0 if the next one is not overdue. */
  get imageSilence() {
    const silence = performance.now() - this.lastImage;
    return silence < Math.max(SILENT_MS, 3 * this.imageInterval) ? 0 : silence;
  }

  /** Decode an image and queue it. */
  async push({ jpeg, ...frame }) {
    this.imageInterval += 0.2 * (performance.now() - this.lastImage - this.imageInterval);
    this.lastImage = performance.now();
    if (document.hidden || this.decoding >= MAX_DECODING) return;
    const era = this.era;
    const arrived = performance.now();
    this.decoding += 1;
    let bitmap;
    try {
      bitmap = await createImageBitmap(new Blob([jpeg], { type: 'image/jpeg' }), {
        imageOrientation: 'none', // pixels where the tracker sees them
      });
    } catch {
      return; // a damaged image: the next one will do
    } finally {
      if (era === this.era) this.decoding -= 1;
    }
    if (era !== this.era || frame.sequence < (this.current?.sequence ?? -1)) {
      bitmap.close();
      return;
    }
    this.waiting.push({ ...frame, bitmap, arrived, held: false });
    this.waiting.sort((a, b) => a.sequence - b.sequence);
    if (this.waiting.length > MAX_FRAMES) this.waiting.shift().bitmap.close();
    this.update();
  }

  addResult(result) {
    const now = performance.now();
    if (this.silence < MAX_WAIT_MS) this.interval += 0.2 * (this.silence - this.interval);
    this.lastResult = now;
    this.last = result;
    this.results.delete(result.stamp);
    this.results.set(result.stamp, result);
    if (this.results.size > MAX_RESULTS) this.results.delete(this.results.keys().next().value);
    if (this.current?.stamp === result.stamp) this.onShow();
    this.update();
  }

  /** Keep the pixels of a frame until `release`, though newer ones are shown. */
  hold(frame) {
    frame.held = true;
  }

  release(frame) {
    frame.held = false;
    if (frame !== this.current) this.#close(frame);
  }

  /** Choose the newest frame that can be shown. */
  update() {
    clearTimeout(this.timer);
    const index = this.waiting.findLastIndex((frame) => this.#isReady(frame));
    if (index >= 0) {
      const passed = this.waiting.splice(0, index + 1);
      this.#close(this.current);
      this.current = passed.pop();
      for (const frame of passed) frame.bitmap.close();
      this.lastShown = performance.now();
      this.onShow();
    }
    if (this.waiting.length) this.timer = setTimeout(() => this.update(), 50);
  }

  #isReady(frame) {
    if (this.paused || !this.last?.targets.length || this.results.has(frame.stamp)) return true;
    const now = performance.now();
    const wait = Math.min(Math.max(WAIT_MS, 2 * this.interval), MAX_WAIT_MS);
    const stopped = this.silence >= wait || now - this.lastShown >= MAX_STILL_MS;
    return stopped && now - frame.arrived >= wait;
  }

  #close(frame) {
    if (frame && !frame.held) frame.bitmap.close();
  }
}
