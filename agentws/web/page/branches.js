/**
 * Branches: the arrows between the versions of a message, its edit in place, and another answer.
 *
 * @module
 */
import { el, icon, setText } from './dom.js';
import { regain } from './focus.js';
import { sentenceOf } from './questions.js';

/** @typedef {import('./views.js').Actions} Actions */

/** @param {any} message @returns {{ids: string[], current: number} | null} the branches at its place */
export function branchesOf({ metadata }) {
  const { ids, current } = metadata?.agentws?.branches ?? {};
  return Array.isArray(ids) && ids.length > 1 && current in ids ? { ids, current } : null;
}

/**
 * Whether the conversation can branch: nothing runs, waits or is being sent.
 *
 * @param {import('../client.js').ChatSnapshot} snapshot
 */
export function canBranch({ run, queue, messages, connection }) {
  return run === null && queue.length === 0 && connection === 'open' && !messages.at(-1)?.unsent;
}

/**
 * @param {string} label
 * @param {'previous' | 'next' | 'pencil' | 'retry'} name
 * @param {() => void} click
 */
function small(label, name, click) {
  return el(
    'button',
    { type: 'button', class: 'copy', 'aria-label': label, title: label, click },
    icon(name),
  );
}

/**
 * Sends a request of a branch, and says why it was refused.
 * @param {HTMLElement} problem @param {Promise<unknown>} sent
 */
function watch(problem, sent) {
  problem.hidden = true;
  return sent.catch((error) => {
    problem.hidden = false;
    setText(problem, sentenceOf(error));
    throw error;
  });
}

/**
 * What stands below a message of the user: "1 / 2" with arrows, and a pencil.
 *
 * @param {HTMLElement} bubble which the editor replaces while the message is edited
 * @param {Actions} actions
 */
export function versions(bubble, actions) {
  /** @type {any} */
  let shown;
  const problem = el('div', { class: 'problem', role: 'alert', dir: 'auto', hidden: true });
  const step = (/** @type {number} */ by) => {
    const branches = branchesOf(shown);
    const branch = branches?.ids[branches.current + by];
    if (branch) watch(problem, actions.switchTo(branch)).catch(() => {});
  };
  const back = small('Previous version', 'previous', () => step(-1));
  const count = el('span', { class: 'versions-count' });
  const next = small('Next version', 'next', () => step(1));
  const arrows = el('span', { class: 'versions' }, back, count, next);
  const pencil = small('Edit the message', 'pencil', () => edit());
  const place = el('div', { class: 'editor', hidden: true });
  const close = () => {
    bubble.hidden = false;
    place.hidden = true;
    place.replaceChildren();
    pencil.hidden = false;
    pencil.focus();
  };
  const edit = () => {
    bubble.hidden = true;
    pencil.hidden = true;
    place.hidden = false;
    place.replaceChildren(editor(shown, actions, close));
    place.querySelector('textarea').focus();
  };
  /** @param {any} message @param {boolean} idle */
  const update = (message, idle) => {
    shown = message;
    const branches = branchesOf(message);
    arrows.hidden = !branches;
    if (branches) {
      const { ids, current } = branches;
      setText(count, `${current + 1} / ${ids.length}`);
      count.setAttribute('aria-label', `Version ${current + 1} of ${ids.length}`);
      back.disabled = !idle || current === 0;
      next.disabled = !idle || current === ids.length - 1;
    }
    pencil.hidden = !idle || message.text === '' || !place.hidden;
    return Boolean(branches) || !pencil.hidden;
  };
  return { foot: el('span', { class: 'branching' }, arrows, pencil), place, problem, update };
}

/** @param {any} message @param {Actions} actions @param {() => void} close */
function editor(message, actions, close) {
  const input = el('textarea', {
    dir: 'auto',
    rows: Math.min(10, message.text.split('\n').length + 1),
    value: message.text,
    'aria-label': 'Edit the message',
  });
  const problem = el('div', { class: 'problem', role: 'alert', dir: 'auto', hidden: true });
  const send = el('button', { type: 'submit', class: 'button primary' }, 'Send');
  const cancel = el('button', { type: 'button', class: 'button', click: close }, 'Cancel');
  const form = el('form', {}, input, el('div', { class: 'actions' }, cancel, send), problem);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const empty = input.value.trim() === '' && !message.metadata?.attachments?.length;
    if (empty || send.disabled) return;
    send.disabled = true;
    watch(problem, actions.edit(message, input.value)).then(close, () => {
      send.disabled = false;
      regain(send);
    });
  };
  form.addEventListener('submit', submit);
  input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Enter' && !event.shiftKey) submit(event);
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    close();
  });
  return form;
}

/** Answers the last message again. @param {Actions} actions */
export function againButton(actions) {
  const problem = el('span', { class: 'problem', role: 'alert', dir: 'auto', hidden: true });
  const button = small('Answer again', 'retry', () => {
    button.disabled = true;
    watch(problem, actions.regenerate())
      .catch(() => {})
      .finally(() => {
        button.disabled = false;
        regain(button);
      });
  });
  return el('span', { class: 'branching' }, button, problem);
}
