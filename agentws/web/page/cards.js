/**
 * Cards: the arguments and the result of a tool call, and the content of an activity, spelled as they arrived.
 *
 * @module
 */
import { spelled } from '../exact.js';
import { el, icon, setText } from './dom.js';
import { prettyPrinted } from './json.js';
import { durationText, progressText } from './progress.js';
import { approval, outcomeOf } from './questions.js';

/** @typedef {import('./views.js').View} View */

const CALL_STATES = {
  streaming: 'Preparing',
  called: 'Running',
  done: 'Done',
  cancelled: 'Stopped',
  error: 'Failed',
};

/** @typedef {{interrupts?: readonly any[], answered?: readonly any[], who?: string | null, [other: string]: any}} Asked */

/**
 * @param {import('./views.js').Actions} [actions]
 * @returns {{element: HTMLElement, update: (call: any, asked?: Asked) => void}}
 */
export function toolCard(actions) {
  const name = el('span', { class: 'card-title', dir: 'ltr' });
  const state = el('span', { class: 'card-state' });
  const args = el('pre', { tabIndex: 0, dir: 'ltr' });
  const result = el('pre', { tabIndex: 0 });
  const resultPart = part(el('h3', {}, 'Result'), result);
  const argsPart = part(el('h3', {}, 'Arguments'), args);
  const element = card('card tool', icon('tool'), name, state);
  const edited = editedPart();
  const progress = progressPart();
  const approving = approvalPart(actions, element);
  element.append(argsPart, edited.element, approving.element, progress.element, resultPart);
  /** @type {any} */
  let shown = {};
  return {
    element,
    update(call, asked = {}) {
      const waits = asked.interrupts?.find(({ toolCallId }) => toolCallId === call.id);
      setText(name, call.name);
      setText(state, stateOf(call, waits));
      if (call.args !== shown.args || call.status !== shown.status) {
        // Streaming arguments are incomplete, and parsing them again for every delta is quadratic.
        const whole = call.status === 'streaming' ? null : prettyPrinted(call.args);
        setText(args, whole ?? call.args);
        argsPart.hidden = call.args === '' || whole === '{}';
      }
      if (call.result !== shown.result || call.error !== shown.error)
        setContent(result, resultOf(call));
      resultPart.hidden = result.textContent === '';
      edited.update(call);
      progress.update(call, waits);
      approving.update(call, waits, asked);
      element.dataset.status = waits ? 'waiting' : call.status;
      shown = call;
    },
  };
}

/** @param {any} call @param {any} waits the open question about it, if there is one */
function stateOf({ status, metadata }, waits) {
  if (waits) return waits.reason === 'tool_call' ? 'Needs approval' : 'Waiting';
  const { status: told, duration } = metadata?.agentws ?? {};
  if (told === 'denied') return 'Denied';
  const label = CALL_STATES[/** @type {keyof typeof CALL_STATES} */ (status)];
  return [label, durationText(duration)].filter(Boolean).join(' \u00b7 ');
}

/** The arguments that a person approved instead of those of the call. */
function editedPart() {
  const content = el('pre', { tabIndex: 0, dir: 'ltr' });
  const element = el('div');
  /** @param {any} call */
  const update = ({ metadata }) => {
    const args = metadata?.agentws?.editedArgs;
    if (args === undefined) return element.replaceChildren();
    setContent(content, spelled(args));
    if (!element.hasChildNodes()) element.append(part(el('h3', {}, 'Arguments, edited'), content));
  };
  return { element, update };
}

/** How far the call is; above the fold, since a card is closed by default. */
function progressPart() {
  const text = el('span', { dir: 'auto' });
  const bar = el('progress', { 'aria-label': 'Progress' });
  const element = el('div', { class: 'card-part progress' }, text, bar);
  /** @param {any} call @param {any} waits */
  const update = ({ progress, status }, waits) => {
    element.hidden = !progress || waits || (status !== 'called' && status !== 'streaming');
    if (element.hidden) return;
    const { done, total } = progress;
    setText(text, progressText(progress));
    bar.hidden = !(typeof done === 'number' && total > 0);
    if (!bar.hidden) Object.assign(bar, { max: total, value: Math.min(done, total) });
  };
  return { element, update };
}

/**
 * Asks to approve the call, and later says what became of that.
 * @param {import('./views.js').Actions | undefined} actions
 * @param {HTMLElement} card opens for the question
 */
function approvalPart(actions, card) {
  const element = el('div');
  let shown = '';
  /** @param {any} call @param {any} waits @param {Asked} asked */
  const update = (call, waits, { answered, who = null }) => {
    const isOpen = actions && waits?.reason === 'tool_call';
    const past = answered?.findLast(({ toolCallId }) => toolCallId === call.id);
    const outcome = past && past.reason === 'tool_call' ? outcomeOf(past.answer, who) : '';
    const next = isOpen ? `open ${waits.id}` : outcome;
    if (next === shown) return;
    shown = next;
    if (isOpen) element.replaceChildren(approval(waits, actions, call));
    else
      element.replaceChildren(
        outcome && part(el('p', { class: 'answered-by', dir: 'auto' }, outcome)),
      );
    if (isOpen) /** @type {HTMLDetailsElement} */ (card).open = true;
  };
  return { element, update };
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
  const kind = el('span', { class: 'card-state', dir: 'auto' });
  const content = el('pre', { tabIndex: 0 });
  const element = card('card', icon('info'), title, kind);
  element.append(part(content));
  return {
    element,
    update({ message }) {
      const named = message.content?.title;
      const type = message.activityType ?? 'Activity';
      setText(title, typeof named === 'string' ? named : type);
      setText(kind, typeof named === 'string' ? type : '');
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
