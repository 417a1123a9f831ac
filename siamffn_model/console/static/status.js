/** What the page says about the connection, the tracker, its figures and the operators. */

import { byId, create, duration, setText } from './helpers.js';

const SILENT_MS = 1500;

/** Show the state of the connection in the header; the level is ok, warn or bad. */
export function showConnection(text, level) {
  const line = byId('connection');
  setText(line, text);
  line.dataset.level = level;
  document.body.classList.toggle('offline', level !== 'ok');
}

/** Fill the chooser of trackers. */
export function showTrackers(trackers, selected) {
  const select = byId('tracker');
  select.replaceChildren(...trackers.map(({ name, camera, problem }) => {
    const option = create('option', '', `${name} (${camera})${problem ? ': not ready' : ''}`);
    option.value = name;
    return option;
  }));
  select.value = selected;
}

export function showStats({ latency_ms: latency, fps, dropped }) {
  setText(byId('latency'), latency == null ? '–' : `${Math.round(latency)} ms`);
  setText(byId('fps'), fps == null ? '–' : fps.toFixed(fps < 9.95 ? 1 : 0));
  setText(byId('dropped'), String(dropped ?? '–'));
}

export function clearStats() {
  for (const name of ['latency', 'fps', 'dropped']) setText(byId(name), '–');
}

/** Show who else watches; `own` is the number of this page. */
export function showOperators(clients, own) {
  const others = clients.filter((client) => client.id !== own).map((client) => client.name);
  const text = others.length ? `Also here: ${others.join(', ')}` : 'Nobody else is here.';
  setText(byId('operators'), text);
}

/** Show the one notice that matters most, as [level, text]; none for null. */
export function showNotice(notice) {
  const line = byId('notice');
  line.hidden = !notice;
  if (!notice) return;
  line.dataset.level = notice[0];
  setText(line, notice[1]);
}

/** Whether the tracker, which has targets, has sent no result for long. */
function isSilent(frames) {
  return Boolean(frames.last?.targets.length) && frames.silence > SILENT_MS;
}

/** Return why the states of the targets are not those of now, in two words; empty if they are. */
export function standstill({ connection, tracker, frames, imageSilence }) {
  if (!connection.connected || imageSilence) return 'not live';
  if (tracker?.paused) return 'paused';
  return isSilent(frames) ? 'not live' : '';
}

/** Choose the notice on the picture. */
export function chooseNotice(present) {
  const { connection, everConnected, reason, tracker, input, frames, imageSilence } = present;
  if (!connection.connected) {
    const why = reason ? ` (${reason})` : '';
    if (!everConnected) return ['warn', `Connecting to the server…${why}`];
    return ['bad', `Connection lost${why}: this is the last picture. Reconnecting…`];
  }
  if (!tracker) return ['warn', 'No tracker is running: it appears here when it is started.'];
  const { draft, armed } = input;
  if (draft) {
    const what = draft.id ? `Re-initialising ${draft.id}` : 'New target';
    const keys = draft.byKeys ? 'arrows move, Shift + arrows resize, Enter gives it, ' : '';
    return ['info', `${what}. Picture frozen: ${keys}Escape cancels.`];
  }
  if (armed) return ['info', `Draw a new box for ${armed}. Escape cancels.`];
  if (frames.current && imageSilence) {
    const why = tracker.problem ? ` (${tracker.problem})` : '';
    return ['bad', `No image for ${duration(imageSilence)}: this is the last one${why}`];
  }
  if (tracker.problem) return ['warn', tracker.problem];
  if (!frames.current) return ['info', `Waiting for the first image of ${tracker.camera}`];
  if (tracker.paused) return ['info', 'Tracking is paused'];
  if (isSilent(frames)) {
    return ['warn', `No result from the tracker for ${duration(frames.silence)}`];
  }
  return null;
}
