/**
 * Cards: the arguments and the result of a tool call, and the content of an activity, spelled as they arrived.
 *
 * @module
 */
import { spelled } from '../exact.js';
import { el, icon, setText } from './dom.js';
import { prettyPrinted } from './json.js';

/** @typedef {import('./views.js').View} View */

const CALL_STATES = {
  streaming: 'Preparing',
  called: 'Running',
  done: 'Done',
  cancelled: 'Stopped',
  error: 'Failed',
};

/** @returns {View} */
export function toolCard() {
  const name = el('span', { class: 'card-title', dir: 'ltr' });
  const state = el('span', { class: 'card-state' });
  const args = el('pre', { tabIndex: 0, dir: 'ltr' });
  const result = el('pre', { tabIndex: 0 });
  const resultPart = part(el('h3', {}, 'Result'), result);
  const argsPart = part(el('h3', {}, 'Arguments'), args);
  const element = card('card tool', icon('tool'), name, state);
  element.append(argsPart, resultPart);
  /** @type {any} */
  let shown = {};
  return {
    element,
    update(call) {
      setText(name, call.name);
      setText(state, CALL_STATES[/** @type {keyof typeof CALL_STATES} */ (call.status)]);
      if (call.args !== shown.args || call.status !== shown.status) {
        // Streaming arguments are incomplete, and parsing them again for every delta is quadratic.
        const whole = call.status === 'streaming' ? null : prettyPrinted(call.args);
        setText(args, whole ?? call.args);
        argsPart.hidden = call.args === '' || whole === '{}';
      }
      if (call.result !== shown.result || call.error !== shown.error)
        setContent(result, resultOf(call));
      resultPart.hidden = result.textContent === '';
      element.dataset.status = call.status;
      shown = call;
    },
  };
}

/** @returns {View} a result without its call */
export function orphanView() {
  const content = el('pre', { tabIndex: 0 });
  const element = card('card', icon('tool'), el('span', { class: 'card-title' }, 'Result'));
  element.append(part(content));
  return { element, update: ({ message }) => setContent(content, message.text) };
}

/** @returns {View} */
export function activityView() {
  const title = el('span', { class: 'card-title', dir: 'auto' });
  const content = el('pre', { tabIndex: 0 });
  const element = card('card', icon('info'), title);
  element.append(part(content));
  return {
    element,
    update({ message }) {
      setText(title, message.content?.title ?? message.activityType ?? 'Activity');
      setContent(content, spelled(message.content ?? {}));
    },
  };
}

/** @param {string} name @param {...Node} summary @returns {HTMLElement} */
function card(name, ...summary) {
  return el('details', { class: name }, el('summary', {}, ...summary));
}

/** @param {...Node} children @returns {HTMLElement} */
function part(...children) {
  return el('div', { class: 'card-part' }, ...children);
}

/** @param {HTMLElement} place @param {string} text JSON, which is pretty-printed, or any other text */
function setContent(place, text) {
  const json = prettyPrinted(text);
  place.dir = json === null ? 'auto' : 'ltr';
  setText(place, json ?? text);
}

/** @param {any} call */
function resultOf({ result: content, error }) {
  if (error !== undefined) return error;
  if (!Array.isArray(content)) return content ?? '';
  return content.map((one) => one.text ?? `[${one.type}]`).join('\n');
}
