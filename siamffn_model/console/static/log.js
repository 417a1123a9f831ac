/** The list of events, and what a screen reader says. */

import { create } from './helpers.js';

const MAX_ENTRIES = 200;

export class Log {
  constructor(list, announcer) {
    this.list = list;
    this.announcer = announcer;
  }

  /** Add a line, newest first; `time` is in seconds since 1970, `level` is info, warn or bad. */
  add(text, { operator = '', time = Date.now() / 1000, level = 'info' } = {}) {
    const item = create('li');
    item.dataset.level = level;
    const clock = new Date(time * 1000).toLocaleTimeString([], { hour12: false });
    const line = operator ? `${operator}: ${text}` : text;
    item.append(create('time', '', clock), create('span', '', line));
    this.list.prepend(item);
    if (this.list.children.length > MAX_ENTRIES) this.list.lastChild.remove();
  }

  /** Let a screen reader say a text. */
  announce(text) {
    this.announcer.append(create('p', '', text));
    if (this.announcer.children.length > 5) this.announcer.firstChild.remove();
  }

  /** Add a line and let it be said. */
  report(text, options) {
    this.add(text, options);
    this.announce(text);
  }
}
