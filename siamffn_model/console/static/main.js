/** The operator's console: connects the parts of the page, see docs/console.md. */

import { BoxInput } from './box_input.js';
import { Connection } from './connection.js';
import { FrameQueue } from './frames.js';
import { byId } from './helpers.js';
import { bindKeys } from './keyboard.js';
import { Log } from './log.js';
import { Picture } from './picture.js';
import { Requests } from './requests.js';
import * as status from './status.js';
import { TargetList } from './target_list.js';
import { Targets } from './targets.js';
import { bindToolbar, refreshToolbar, saveSnapshot, toggleFullscreen } from './toolbar.js';

const REFRESH_MS = 250; // of figures in the list; states are shown at once
const CHANGES = {
  started: ['starts', 'info'],
  stopped: ['has been stopped', 'info'],
  lost: ['is LOST', 'bad'],
  found: ['is found again', 'info'],
  uncertain: ['is UNCERTAIN', 'warn'],
};

const state = {
  everConnected: false,
  reason: '', // why the connection was closed
  tracker: null,
  fps: null, // images that the server receives in a second
  recording: false,
};
const log = new Log(byId('log'), byId('announcer'));
const targets = new Targets(onTargetChange);
const frames = new FrameQueue(() => picture.invalidate());
const connection = new Connection({ onOpen, onClosed, onFrame, onMessage });
const picture = new Picture(byId('picture'), targets, scene, onResize);
const requests = new Requests(connection, targets, picture, log, obstacle, refresh);
const input = new BoxInput(picture, frames, targets, {
  onGive: (given) => requests.give(given),
  onSelect: select,
  onChange: refresh,
  isEnabled: () => connection.connected && Boolean(state.tracker),
});
const list = new TargetList(byId('targets'), targets, {
  onSelect: select,
  onStop: stop,
  onRedraw: (id) => {
    targets.select(id);
    input.arm(id);
  },
});

/** Return what the picture shows. */
function scene() {
  const { draft } = input;
  const frame = draft?.frame ?? frames.current;
  const size = draft?.box && `${Math.round(draft.box[2])} × ${Math.round(draft.box[3])}`;
  return {
    frame,
    result: frames.resultOf(frame),
    draft: draft?.box ? [{ box: draft.box, label: size }] : [],
    pending: requests.marks,
    refused: requests.refused?.box || requests.refused?.point ? [requests.refused] : [],
  };
}

/** Show the present state everywhere. */
function refresh() {
  showState();
  picture.invalidate();
}

/** Milliseconds without an image; 0 if the server receives some, or the next is not overdue. */
function silence() {
  return state.fps === 0 ? frames.imageSilence : 0;
}

/** Return what a target that is given now waits for; empty if it starts at once. */
function obstacle() {
  if (silence()) return 'when images come';
  return state.tracker?.paused ? 'after the pause' : '';
}

/** Show the present state beside and above the picture. */
function showState() {
  const imageSilence = silence();
  const present = { ...state, connection, frames, input, imageSilence };
  status.showNotice(status.chooseNotice(present));
  document.body.classList.toggle('stale', imageSilence > 0);
  refreshToolbar(present);
  list.refresh(connection.connected, status.standstill(present));
  byId('count').textContent = targets.byId.size || '';
  byId('no-targets').hidden = targets.byId.size > 0;
  requests.place();
}

// --- from the server

function onOpen(hello) {
  state.hello = hello;
  if (state.everConnected) log.report('Connected again');
  state.everConnected = true;
  state.reason = '';
  frames.restart();
  status.showConnection('Connected', 'ok');
  byId('recording').hidden = !hello.can_record;
  document.querySelector('h1').title = `Version ${hello.version}`;
  const name = localStorage.getItem('name');
  byId('name').value = name || hello.name;
  if (name) connection.send('name', { name });
  picture.report();
  refresh();
}

function onClosed(reason) {
  if (state.reason === '' && state.everConnected && byId('connection').dataset.level === 'ok') {
    log.report('Connection lost', { level: 'bad' });
  }
  state.reason = reason || state.reason; // the last attempt may know less
  state.fps = null;
  status.showConnection(state.everConnected ? 'Reconnecting' : 'Connecting', 'bad');
  status.clearStats();
  dropDraft('the connection is lost');
  refresh();
}

/** End drawing, and say that it was in vain. */
function dropDraft(why) {
  const box = input.draft?.box;
  input.cancel();
  if (box) requests.refuse({ box }, `The box was not sent: ${why}.`);
}

function onFrame(frame) {
  frames.push(frame);
}

function onMessage(message) {
  const handlers = { trackers: onTrackers, result: onResult, stats: onStats };
  handlers[message.type]?.(message);
  if (message.type === 'event') log.report(message.text, message);
  if (message.type === 'operators') status.showOperators(message.clients, state.hello.client);
}

function onTrackers({ trackers, selected }) {
  const before = state.tracker?.name;
  state.tracker = trackers.find((tracker) => tracker.name === selected) ?? null;
  status.showTrackers(trackers, selected);
  if (before !== undefined && before !== state.tracker?.name) {
    dropDraft('another tracker is watched');
    frames.reset();
    targets.clear();
    requests.forget();
    status.clearStats();
  }
  frames.paused = Boolean(state.tracker?.paused);
  frames.update();
  const wanted = sessionStorage.getItem('tracker'); // after a lost connection, or a new start
  if (wanted && wanted !== selected && trackers.some((tracker) => tracker.name === wanted)) {
    connection.request('select', { tracker: wanted });
  }
  refresh();
}

function onResult(result) {
  requests.forget();
  targets.update(result);
  frames.addResult(result);
}

function onStats(stats) {
  status.showStats(stats);
  state.fps = stats.fps;
  state.recording = Boolean(stats.recording);
}

function onTargetChange(kind, target) {
  const [text, level] = CHANGES[kind];
  log.report(`${target.id} ${text}`, { level });
  queueMicrotask(refresh); // when the whole result has been taken
}

function onResize(size) {
  connection.send('view', size);
}

// --- from the operator

function select(id) {
  targets.select(id);
  if (id) log.announce(`${id} selected`);
  refresh();
}

function stop(id) {
  if (id) requests.send('stop', { target_id: id }, `Stop ${id}`);
}

function stopAll() {
  requests.forget();
  requests.send('stop', { target_id: '' }, 'Stop all');
}

async function togglePause() {
  if (byId('pause').disabled) return;
  await requests.send('pause', { paused: !state.tracker.paused }, byId('pause').title);
}

async function toggleRecord() {
  const on = !state.recording;
  const fields = { on, images: byId('images').checked };
  const reply = await requests.send('record', fields, byId('record').title);
  if (!reply.ok) return;
  state.recording = on;
  log.report(on ? `Recording to ${reply.path}` : `Recorded ${reply.path}`);
  refresh();
}

function takeSnapshot() {
  const { frame, result } = scene();
  if (frame) saveSnapshot(frame, result, targets, log);
}

function escape() {
  if (!input.cancel() && !requests.clearRefusal()) select('');
}

bindToolbar({
  pause: togglePause,
  snapshot: takeSnapshot,
  record: toggleRecord,
  fullscreen: toggleFullscreen,
  'show-keys': () => byId('keys').showModal(),
  'stop-all': stopAll,
});
bindKeys({
  ' ': () => { togglePause(); },
  Delete: () => stop(targets.selected),
  Backspace: () => stop(targets.selected),
  Escape: escape,
  f: toggleFullscreen,
  '?': () => byId('keys').showModal(),
  digit: (number) => select(targets.all.find((target) => target.number === number)?.id ?? ''),
});
byId('picture').addEventListener('pointerdown', () => requests.clearRefusal(), true);
byId('tracker').onchange = async () => {
  sessionStorage.setItem('tracker', byId('tracker').value);
  await requests.send('select', { tracker: byId('tracker').value }, 'Choose the tracker');
};
byId('name').onchange = () => {
  const name = byId('name').value.trim();
  localStorage.setItem('name', name);
  connection.send('name', { name });
};
setInterval(showState, REFRESH_MS);
connection.open();
refresh();
