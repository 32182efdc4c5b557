/**
 * The state that the agent and its clients share, as JSON in a folded panel above the message box.
 *
 * @module
 */
import { spelled } from '../exact.js';
import { setText } from './dom.js';
import { prettyPrinted } from './json.js';

/**
 * @param {HTMLDetailsElement} panel
 * @param {unknown} shared undefined or null if there is none
 */
export function drawShared(panel, shared) {
  panel.hidden = shared === undefined || shared === null;
  // JSON that nobody sees is not written: the state may be large, and change with every delta.
  if (panel.hidden || !panel.open) return;
  const text = spelled(shared);
  setText(/** @type {HTMLElement} */ (panel.querySelector('pre')), prettyPrinted(text) ?? text);
}
