/**
 * One chat in the list: a link, with buttons to rename the chat in place, and to delete it after one question.
 *
 * @module
 */
import { el, icon, setText } from './dom.js';

/**
 * @typedef {import('./chats.js').Chat} Chat
 * @typedef {object} Actions
 * @property {(id: string) => void} open
 * @property {(id: string, title: string) => Promise<unknown>} rename
 * @property {(id: string) => Promise<unknown>} remove
 * @property {(row: ChatRow) => void} begun a form or a question is shown in the row
 */

const UNTITLED = 'Untitled chat';
/** The server takes longer titles; nobody reads them in a list. */
const LONGEST_TITLE = 200;

export class ChatRow {
  #actions;
  /** @type {Chat} */
  #chat;
  #busy = false;
  #link = el('a', { dir: 'auto', click: (/** @type {MouseEvent} */ event) => this.#open(event) });
  #rename = iconButton('pencil', () => this.#showForm());
  #remove = iconButton('trash', () => this.#ask());
  #line = el('div', { class: 'chat-line' }, this.#link, this.#rename, this.#remove);
  #input = el('input', { maxLength: LONGEST_TITLE, dir: 'auto', 'aria-label': 'Title' });
  #form = el(
    'form',
    { class: 'chat-form', hidden: true },
    this.#input,
    el(
      'button',
      { class: 'copy', type: 'submit', title: 'Save', 'aria-label': 'Save' },
      icon('check'),
    ),
    named(
      iconButton('close', () => this.end()),
      'Cancel',
    ),
  );
  #keep = el('button', { type: 'button', class: 'button', click: () => this.end() }, 'Keep it');
  #question = el(
    'div',
    {
      class: 'chat-question',
      role: 'group',
      'aria-label': 'Delete this chat?',
      hidden: true,
    },
    el('p', {}, 'Delete this chat? It can\u2019t be restored.'),
    el(
      'div',
      { class: 'actions' },
      el(
        'button',
        { type: 'button', class: 'button danger', click: () => this.#tryRemoving() },
        'Delete',
      ),
      this.#keep,
    ),
  );
  #problem = el('p', { class: 'problem', role: 'alert', dir: 'auto' });
  element = el('li', { class: 'chat' }, this.#line, this.#form, this.#question, this.#problem);

  /** @param {Chat} chat @param {Actions} actions */
  constructor(chat, actions) {
    this.#chat = chat;
    this.#actions = actions;
    this.#link.href = `?${new URLSearchParams({ session: chat.id })}`;
    this.#form.addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#tryRenaming();
    });
    this.element.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) =>
      this.#key(event),
    );
  }

  /** @param {Chat} chat @param {boolean} current */
  update(chat, current) {
    this.#chat = chat;
    const title = chat.title || UNTITLED;
    setText(this.#link, title);
    named(this.#rename, 'Rename', title);
    named(this.#remove, 'Delete', title);
    if (current) this.#link.setAttribute('aria-current', 'page');
    else this.#link.removeAttribute('aria-current');
  }

  hasFocus() {
    return this.element.contains(document.activeElement);
  }

  focus() {
    if (!this.#form.hidden) this.#input.focus();
    else if (!this.#question.hidden) this.#keep.focus();
    else this.#link.focus();
  }

  /** Ends the form or the question, and changes nothing. */
  end() {
    const button = this.#form.hidden ? this.#remove : this.#rename;
    const held = this.#isChanging() && this.hasFocus();
    this.#close();
    if (held) button.focus();
  }

  #isChanging() {
    return !this.#form.hidden || !this.#question.hidden;
  }

  #close() {
    this.#form.hidden = this.#question.hidden = true;
    this.#line.hidden = false;
    setText(this.#problem, '');
  }

  #showForm() {
    this.#actions.begun(this);
    this.#close();
    this.#input.value = this.#chat.title;
    this.#form.hidden = false;
    this.#input.select();
    this.#line.hidden = true;
  }

  #ask() {
    this.#actions.begun(this);
    this.#close();
    this.#question.hidden = false;
    // Not the button that deletes: a key that is pressed twice deletes nothing.
    this.#keep.focus();
  }

  /** @param {MouseEvent} event */
  #open(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.#actions.open(this.#chat.id);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key !== 'Escape' || !this.#isChanging()) return;
    // On the page, Escape stops the run.
    event.stopPropagation();
    this.end();
  }

  async #tryRenaming() {
    const title = this.#input.value.trim();
    if (title === '' || title === this.#chat.title) return this.end();
    await this.#attempt(() => this.#actions.rename(this.#chat.id, title));
  }

  async #tryRemoving() {
    await this.#attempt(() => this.#actions.remove(this.#chat.id));
  }

  /** @param {() => Promise<unknown>} change */
  async #attempt(change) {
    if (this.#busy) return;
    this.#busy = true;
    this.element.setAttribute('aria-busy', 'true');
    try {
      await change();
      this.end();
    } catch (error) {
      setText(this.#problem, /** @type {Error} */ (error).message);
    } finally {
      this.#busy = false;
      this.element.removeAttribute('aria-busy');
    }
  }
}

/** @param {Parameters<typeof icon>[0]} name @param {() => void} click */
function iconButton(name, click) {
  return el('button', { type: 'button', class: 'copy', click }, icon(name));
}

/** @param {HTMLElement} button @param {string} does @param {string} [title] of the chat */
function named(button, does, title) {
  button.title = does;
  button.setAttribute('aria-label', title === undefined ? does : `${does}: ${title}`);
  return button;
}
