/** The WebSocket to the server: reconnects, acknowledges images, matches replies to requests. */

const RETRY_MS = [500, 1000, 2000, 4000, 5000];
const CHECK_MS = 1000;
const MAX_SILENT_CHECKS = 4; // the server sends figures every second: the link is dead
const REPLY_MS = 15000;
const HEADER_BYTES = 16;

export class Connection {
  /**
   * The listener's methods: `onOpen(hello)`, `onClosed(reason)`, `onFrame(frame)` and
   * `onMessage(message)`.
   */
  constructor(listener) {
    this.listener = listener;
    this.connected = false;
    this.socket = null;
    this.attempts = 0;
    this.waiting = new Map(); // number of a request: {resolve, timer}
    this.lastRequest = 0;
    this.silentChecks = 0;
    setInterval(() => this.#checkSilence(), CHECK_MS);
    addEventListener('online', () => this.#retryNow());
    addEventListener('visibilitychange', () => !document.hidden && this.#retryNow());
    addEventListener('pagehide', () => this.socket?.close());
  }

  open() {
    clearTimeout(this.retryTimer);
    const url = new URL('/ws', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event.reason);
    this.socket = socket;
    this.silentChecks = 0;
  }

  /** Send a message that has no reply; without a connection, or while it closes, it is left out. */
  send(type, fields) {
    if (!this.connected || this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify({ type, ...fields }));
  }

  /** Send a request and return its reply; a lost connection is a reply that is not `ok`. */
  request(type, fields) {
    if (!this.connected) return Promise.resolve({ ok: false, message: 'No connection.' });
    const request = (this.lastRequest = (this.lastRequest % 0x7fffffff) + 1);
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#fail(request, 'No answer: try again.'), REPLY_MS);
      this.waiting.set(request, { resolve, timer });
      this.send(type, { request, ...fields });
    });
  }

  #receive(data) {
    this.silentChecks = 0;
    if (typeof data !== 'string') {
      this.#receiveFrame(data);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === 'hello') {
      this.connected = true;
      this.attempts = 0;
      this.listener.onOpen(message);
    } else if (message.type === 'reply') {
      this.#reply(message);
    } else {
      this.listener.onMessage(message);
    }
  }

  #receiveFrame(data) {
    const view = new DataView(data);
    const sequence = view.getUint32(8, true);
    this.send('ack', { sequence }); // first of all: it is what the server measures the link by
    this.listener.onFrame({
      stamp: String(view.getBigInt64(0, true)),
      sequence,
      width: view.getUint16(12, true),
      height: view.getUint16(14, true),
      jpeg: new Uint8Array(data, HEADER_BYTES),
    });
  }

  #reply(message) {
    const waiting = this.waiting.get(message.request);
    if (!waiting) return;
    this.waiting.delete(message.request);
    clearTimeout(waiting.timer);
    waiting.resolve(message);
  }

  #fail(request, message) {
    this.#reply({ request, ok: false, message });
  }

  #closed(reason) {
    this.socket.onclose = this.socket.onmessage = null;
    this.socket = null;
    this.connected = false;
    for (const request of [...this.waiting.keys()]) {
      this.#fail(request, 'The connection was lost before the answer came.');
    }
    const pause = RETRY_MS[Math.min(this.attempts, RETRY_MS.length - 1)];
    this.retryTimer = setTimeout(() => this.open(), pause);
    this.attempts += 1;
    this.listener.onClosed(reason);
    if (!reason) this.#askWhy();
  }

  /** A console that was started again may have another token. */
  async #askWhy() {
    const options = { method: 'HEAD', cache: 'no-store' };
    const response = await fetch('/', options).catch(() => null); // null: it is not running
    if (response?.status === 401 && !this.connected) {
      const remedy = 'open the address that the console prints now';
      this.listener.onClosed(`the token is no longer valid: ${remedy}`);
    }
  }

  /** Counts checks, not time: a page that was stopped for a while has messages to read first. */
  #checkSilence() {
    this.silentChecks += 1;
    if (!this.socket || this.silentChecks <= MAX_SILENT_CHECKS) return;
    this.socket.close();
    this.#closed('nothing was received'); // the event `close` of a dead link may take minutes
  }

  #retryNow() {
    if (!this.socket) this.open();
  }
}
