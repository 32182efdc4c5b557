/**
 * The messages that wait while an answer runs: a list above the message box, in which each can be edited in place,
 * moved to the front and taken back.
 *
 * @module
 */
import { textIn } from './composer.js';
import { byId, el, setText } from './dom.js';
import { regain } from './focus.js';

/**
 * @typedef {import('../client.js').ChatMessage} ChatMessage
 * @typedef {{message: ChatMessage, note: string, editable: boolean, promotable: boolean}} Waiting
 * @typedef {object} Actions
 * @property {(id: string, text: string) => Promise<unknown>} edit
 * @property {(id: string) => Promise<unknown>} promote
 * @property {(message: ChatMessage) => void} withdraw
 * @property {(text: string) => void} rescue keeps a text that was written for a message which no longer waits
 * @property {(sentence: string) => void} tell
 */

const STEERS = 'Will be read at the next step';

/**
 * What waits during a run. A message that can't be sent is in the conversation instead. Pure.
 *
 * @param {import('../client.js').ChatSnapshot} snapshot
 * @returns {Waiting[]}
 */
export function waitingIn({ run, messages, connection }) {
  if (run === null) return [];
  const accepted = messages.filter(({ status }) => status === 'queued');
  const sending = messages.filter(({ status }) => status === 'sending' && connection === 'open');
  const first = accepted.find(({ overlap }) => overlap !== 'steer');
  return [
    ...accepted.map((message) => {
      const steers = message.overlap === 'steer';
      return {
        message,
        note: steers ? STEERS : '',
        // Editing replaces the content by a text.
        editable: !steers && message.content === undefined,
        promotable: !steers && message !== first,
      };
    }),
    ...sending.map((message) => ({
      message,
      note: 'Sending',
      editable: false,
      promotable: false,
    })),
  ];
}

export class Queue {
  #list;
  #actions;
  /** @type {Map<string, Row>} */
  #rows = new Map();

  /** @param {HTMLElement} list @param {Actions} actions */
  constructor(list, actions) {
    this.#list = list;
    this.#actions = actions;
  }

  /** @param {import('../client.js').ChatSnapshot} snapshot */
  update(snapshot) {
    const waiting = waitingIn(snapshot);
    if (waiting.length === 0 && this.#rows.size === 0) return;
    const focused = [...this.#rows.values()].find((row) => row.hasFocus());
    this.#forget(new Set(waiting.map(({ message }) => message.id)));
    for (const [index, one] of waiting.entries()) {
      const { element } = this.#row(one);
      const there = this.#list.children[index] ?? null;
      if (element !== there) this.#list.insertBefore(element, there);
    }
    this.#list.hidden = waiting.length === 0;
    // An element that moves loses the focus.
    if (focused?.element.isConnected && !focused.hasFocus()) focused.focus();
    // The message no longer waits.
    if (focused && !focused.element.isConnected) regain(byId('composer-input'));
  }

  /** Removes everything, before another conversation is shown. */
  clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#list.hidden = true;
  }

  /** @param {Set<string>} kept */
  #forget(kept) {
    for (const [id, row] of this.#rows) {
      if (kept.has(id)) continue;
      this.#rows.delete(id);
      row.remove();
    }
  }

  /** @param {Waiting} waiting */
  #row(waiting) {
    const { id } = waiting.message;
    const row = this.#rows.get(id) ?? new Row(this.#actions);
    this.#rows.set(id, row);
    row.update(waiting);
    return row;
  }
}

class Row {
  #actions;
  /** @type {ChatMessage} */
  #message = /** @type {any} */ ({});
  /** The names of its files. */
  #files = '';
  #text = el('span', { class: 'queued-text', dir: 'auto' });
  #note = el('span', { class: 'note' });
  #edit = link('Edit', () => this.#begin());
  #promote = link('Move to front', () => this.#tryPromoting());
  #withdraw = link('Take back', () => this.#actions.withdraw(this.#message));
  #shown = el(
    'div',
    { class: 'queued-row' },
    this.#text,
    el('div', { class: 'queued-foot' }, this.#note, this.#edit, this.#promote, this.#withdraw),
  );
  #box = el('textarea', { rows: 1, dir: 'auto', 'aria-label': 'Queued message' });
  #save = el('button', { type: 'submit', class: 'button primary' }, 'Save');
  #form = el(
    'form',
    { class: 'queued-form', hidden: true },
    this.#box,
    el(
      'div',
      { class: 'queued-foot' },
      this.#save,
      el('button', { type: 'button', class: 'button quiet', click: () => this.#end() }, 'Cancel'),
    ),
  );
  element = el('li', { class: 'queued' }, this.#shown, this.#form);

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#form.addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#trySaving();
    });
    this.#box.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.#key(event));
  }

  /** @param {Waiting} waiting */
  update({ message, note, editable, promotable }) {
    this.#message = message;
    this.#files = Array.isArray(message.metadata?.attachments)
      ? message.metadata.attachments.map(({ name }) => name).join(', ')
      : '';
    setText(this.#text, message.text || this.#files || 'Message');
    setText(this.#note, note);
    this.#edit.hidden = !editable;
    this.#promote.hidden = !promotable;
    for (const [button, label] of [
      [this.#edit, 'Edit'],
      [this.#promote, 'Move to front'],
      [this.#withdraw, 'Take back'],
    ])
      button.setAttribute('aria-label', `${label}: ${this.#text.textContent}`);
    this.element.dataset.status = message.status;
  }

  hasFocus() {
    return this.element.contains(document.activeElement);
  }

  focus() {
    const places = this.#form.hidden ? [this.#edit, this.#promote, this.#withdraw] : [this.#box];
    places.find(({ hidden }) => !hidden)?.focus();
  }

  /** The message no longer waits. What was written for it is kept. */
  remove() {
    const text = textIn(this.#box.value);
    const changed = !this.#form.hidden && text !== this.#message.text;
    this.element.remove();
    if (changed) this.#actions.rescue(text);
  }

  #begin() {
    this.#box.value = this.#message.text;
    this.#shown.hidden = true;
    this.#form.hidden = false;
    this.#box.focus();
  }

  #end() {
    this.#form.hidden = true;
    this.#shown.hidden = false;
    this.#edit.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === 'Escape') {
      // On the page, Escape stops the run.
      event.stopPropagation();
      this.#end();
    } else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.#form.requestSubmit();
    }
  }

  async #trySaving() {
    const text = textIn(this.#box.value);
    if ((text === '' && this.#files === '') || this.#save.disabled) return;
    this.#save.disabled = true;
    try {
      await this.#actions.edit(this.#message.id, text);
      this.#end();
    } catch (error) {
      this.#actions.tell(sentence(error));
    } finally {
      this.#save.disabled = false;
      regain(this.#box);
    }
  }

  async #tryPromoting() {
    try {
      await this.#actions.promote(this.#message.id);
    } catch (error) {
      this.#actions.tell(sentence(error));
    }
  }
}

/** @param {any} error a `RequestError` */
function sentence({ code, message }) {
  return code === 'not_found' ? 'That message no longer waits: its answer has begun.' : message;
}

/** @param {string} label @param {() => void} click */
function link(label, click) {
  return el('button', { type: 'button', class: 'link', click }, label);
}
