/** Small helpers: the DOM, boxes, and the fit of the picture into the canvas. */

export const byId = (id) => document.getElementById(id);

/** Return a new element; text goes in as text, never as HTML. */
export function create(tag, className = '', text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** Return an icon of the page's symbols. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS('http://www.w3.org/2000/svg', 'use'));
  setIcon(svg, name);
  return svg;
}

export function setIcon(svg, name) {
  svg.querySelector('use').setAttribute('href', `#icon-${name}`);
}

/** Set the text of an element if it is another one: no work for the browser else. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Return the box [x, y, w, h] between two corners, in any order. */
export function boxBetween(a, b) {
  const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  return [x, y, Math.abs(a.x - b.x), Math.abs(a.y - b.y)];
}

export function contains([x, y, w, h], point) {
  return point.x >= x && point.x <= x + w && point.y >= y && point.y <= y + h;
}

/** Return where a picture lies, as large as possible, in the middle of an area. */
export function fit(picture, area) {
  const scale = Math.min(area.width / picture.width, area.height / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  return { scale, width, height, x: (area.width - width) / 2, y: (area.height - height) / 2 };
}

/** Return a duration in words, such as `12 s` or `3 min 5 s`. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function shorten(text, length) {
  const characters = [...text];
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join('')}…`;
}
