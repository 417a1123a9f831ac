/** The buttons: pause, snapshot, record, full screen, keys. */

import { byId, setIcon, setText } from './helpers.js';
import { snapshot } from './render.js';

/** Set the text of a button, and its name where only the icon is shown. */
function label(button, text) {
  setText(button.querySelector('span'), text);
  button.title = text;
}

/** Enable what is possible now; show whether tracking is paused and whether it is recorded. */
export function refreshToolbar({ connection, tracker, frames, recording }) {
  for (const control of document.querySelectorAll('[data-request]')) {
    const needsTracker = control.id !== 'name' && control.id !== 'tracker';
    control.disabled = !connection.connected || (needsTracker && !tracker);
  }
  byId('snapshot').disabled = !frames.current;
  const paused = Boolean(tracker?.paused);
  label(byId('pause'), paused ? 'Resume' : 'Pause');
  setIcon(byId('pause').querySelector('svg'), paused ? 'resume' : 'pause');
  label(byId('record'), recording ? 'Stop recording' : 'Record');
  byId('record').setAttribute('aria-pressed', String(recording));
  byId('images').disabled = recording;
}

/** Save the shown picture with its boxes as a PNG file. */
export async function saveSnapshot(frame, result, targets, log) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await snapshot(frame, result, targets));
  link.download = `siamffn_${frame.stamp}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  log.report(`Saved ${link.download}`);
}

export function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else byId('viewer').requestFullscreen?.().catch(() => {}); // refused by the browser: no harm
}

/** Connect the buttons with the actions, and give the keys back to the picture after a click. */
export function bindToolbar(actions) {
  for (const name of ['pause', 'snapshot', 'record', 'fullscreen', 'show-keys', 'stop-all']) {
    byId(name).onclick = actions[name];
    byId(name).title ||= byId(name).textContent;
  }
  byId('fullscreen').hidden = !document.fullscreenEnabled;
  document.addEventListener('fullscreenchange', () => {
    label(byId('fullscreen'), document.fullscreenElement ? 'Leave full screen' : 'Full screen');
  });
  document.addEventListener('click', (event) => {
    const byPointer = event.detail > 0;
    if (byPointer && event.target.closest('button') && !document.querySelector('dialog[open]')) {
      byId('picture').focus({ preventScroll: true });
    }
  });
}
