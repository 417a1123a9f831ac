/** Keys that work on the whole page, except while a text is typed or a dialog is open. */

/**
 * Call `actions[key]` for a pressed key; `actions.digit(number)` for 1 to 9. An action that returns
 * false leaves the key to the browser.
 */
export function bindKeys(actions) {
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (document.querySelector('dialog[open]') || isTaken(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = /^[1-9]$/.test(key) ? () => actions.digit(Number(key)) : actions[key];
    if (action && !(event.repeat && key !== 'Escape') && action() !== false) event.preventDefault();
  });
}

/** Whether the focused control uses this key itself. */
function isTaken({ key, target }) {
  if (key === 'Escape') return false;
  if (target.matches('input:not([type=checkbox]), select, textarea')) return true;
  return key === ' ' && target.matches('button, input');
}
