/** Draw the picture with boxes, labels and the searched regions of lost targets. */

import { duration, fit, shorten } from './helpers.js';

const DASHES = { TRACKING: [], UNCERTAIN: [7, 5], LOST: [0.1, 8] }; // CSS pixels
const HALO = 'rgba(0, 0, 0, 0.65)';
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

/**
 * Draw a frame and its targets into a 2D context. `view` is the result of `fit` for the camera's
 * size; `unit` is the size of a CSS pixel in pixels of the canvas.
 */
export function drawFrame(context, { frame, result, targets, view, unit }) {
  context.save();
  context.imageSmoothingQuality = 'high';
  context.drawImage(frame.bitmap, view.x, view.y, view.width, view.height);
  context.beginPath();
  context.rect(view.x, view.y, view.width, view.height);
  context.clip();
  for (const each of result?.targets ?? []) {
    const region = each.box ?? each.search;
    if (!region) continue;
    const selected = targets.selected === each.id;
    const style = { colour: targets.colour(each.id), state: each.state, unit, selected };
    drawBox(context, toCanvas(region, view), style);
  }
  const labels = []; // which do not cover each other
  for (const each of result?.targets ?? []) { // above all boxes
    const region = each.box ?? each.search;
    if (!region) continue;
    const text = labelOf(each, targets.byId.get(each.id));
    const style = { colour: targets.colour(each.id), unit, labels };
    drawLabel(context, toCanvas(region, view), text, view, style);
  }
  context.restore();
}

export function toCanvas([x, y, w, h], view) {
  return [view.x + x * view.scale, view.y + y * view.scale, w * view.scale, h * view.scale];
}

function labelOf(each, target) {
  const name = `${target ? `${target.number} · ` : ''}${shorten(each.id, 24)}`;
  if (each.state === 'LOST') {
    const since = target?.lostAt == null ? '' : ` ${duration(performance.now() - target.lostAt)}`;
    return `${name}  LOST${since}, searched here`;
  }
  const state = each.state === 'TRACKING' ? '' : `  ${each.state}`;
  return `${name}  ${each.score.toFixed(2)}${state}`;
}

/** Draw a box: solid for TRACKING, dashed for UNCERTAIN, dotted for the region of LOST. */
export function drawBox(context, [x, y, w, h], { colour, state = 'TRACKING', unit, selected }) {
  const line = (state === 'LOST' ? 3.5 : selected ? 3 : 2) * unit;
  context.save();
  context.lineJoin = 'round';
  context.lineCap = state === 'LOST' ? 'round' : 'butt';
  const dash = DASHES[state].map((length) => length * unit);
  if (state === 'LOST') context.setLineDash(dash); // else the halo is solid, also below dashes
  context.strokeStyle = HALO;
  context.lineWidth = line + (state === 'LOST' ? 1.5 : 2) * unit;
  context.strokeRect(x, y, w, h);
  context.setLineDash(dash);
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.strokeRect(x, y, w, h);
  if (selected) drawCorners(context, [x, y, w, h], unit);
  context.restore();
}

function drawCorners(context, [x, y, w, h], unit) {
  const side = 7 * unit;
  context.setLineDash([]);
  for (const [cornerX, cornerY] of [[x, y], [x + w, y], [x, y + h], [x + w, y + h]]) {
    context.fillStyle = '#ffffff';
    context.fillRect(cornerX - side / 2, cornerY - side / 2, side, side);
    context.strokeStyle = '#000000';
    context.lineWidth = unit;
    context.strokeRect(cornerX - side / 2, cornerY - side / 2, side, side);
  }
}

/**
 * Write a label above a box; below it, or inside it, where there is no space or another one of
 * `labels`, to which it is added.
 */
export function drawLabel(context, [x, y, w, h], text, view, { colour, unit, labels = [] }) {
  const height = 20 * unit;
  const gap = 5 * unit;
  context.save();
  context.font = `600 ${12.5 * unit}px ${FONT}`;
  context.textBaseline = 'middle';
  const width = context.measureText(text).width + 18 * unit;
  const left = Math.max(view.x, Math.min(x - unit, view.x + view.width - width));
  const inside = Math.max(y, view.y) + gap;
  const isFree = (top) => top >= view.y && top + height <= view.y + view.height && !labels.some(
    (other) => Math.abs(other.top - top) < height
      && left < other.left + other.width && other.left < left + width,
  );
  const top = [y - gap - height, y + h + gap, inside].find(isFree) ?? inside;
  labels.push({ left, top, width });
  context.fillStyle = 'rgba(10, 13, 17, 0.82)';
  context.beginPath();
  context.roundRect(left, top, width, height, 3 * unit);
  context.fill();
  context.fillStyle = colour;
  context.fillRect(left, top, 4 * unit, height);
  context.fillStyle = '#ffffff';
  context.fillText(text, left + 11 * unit, top + height / 2 + unit / 2);
  context.restore();
}

/** Return the shown picture with its boxes as a PNG, in the resolution of the image. */
export function snapshot(frame, result, targets) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [frame.bitmap.width, frame.bitmap.height];
  const unit = Math.max(1, (canvas.width + canvas.height) / 1400);
  const view = fit(frame, canvas);
  drawFrame(canvas.getContext('2d'), { frame, result, targets, view, unit });
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}
