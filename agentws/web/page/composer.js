/**
 * The message box, and the list above it of commands, or of agents to mention.
 *
 * @module
 */
import { el, setText } from './dom.js';

/**
 * @typedef {{text: string, summary: string, whole: boolean}} Choice `whole`: the text is a message
 * @typedef {object} Actions
 * @property {(text: string, overlap?: 'steer') => void} send
 * @property {() => void} stop
 * @property {() => readonly import('./commands.js').Command[]} commands
 * @property {(text: string) => string[]} mentionable the agents whose mention the text begins
 * @property {() => string | undefined} lastMessage
 *
 * @typedef {object} State
 * @property {boolean} running
 * @property {boolean} stopping
 * @property {boolean} steerable whether the agent may take a message during its run
 * @property {'none' | 'ready' | 'busy' | 'failed'} files of this message
 */

/** @type {Record<string, string>} why a message is not sent yet */
const FILES = {
  busy: 'The files are being uploaded.',
  failed: 'A file could not be uploaded. Remove it, then send the message.',
};

/** Whether the server carries this out, instead of giving it to the agent. @param {string} text */
export function isCommand(text) {
  return /^\s*\/(?!\/)/.test(text);
}

/**
 * What a box says: without empty lines around it, and with the indentation of its first line, unless that begins a
 * command or a mention. Pure.
 *
 * @param {string} value @returns {string}
 */
export function textIn(value) {
  return /^\s*[/@]/.test(value) ? value.trim() : value.replace(/^\s*\n/, '').trimEnd();
}

/**
 * The keys of an input method editor choose words, and are no keys of the page. Safari ends the composition before
 * the key that ends it, which only has this code.
 *
 * @param {KeyboardEvent} event
 */
export function keepComposing(event) {
  if (event.isComposing || event.keyCode === 229) event.stopPropagation();
}

export class Composer {
  #elements;
  #actions;
  /** @type {readonly Choice[]} */
  #choices = [];
  #chosen = 0;
  /** The text for which the list was closed. */
  #dismissed = '';
  #steers = false;
  /** @type {State['files']} */
  #files = 'none';

  /**
   * @param {{form: HTMLFormElement, input: HTMLTextAreaElement, send: HTMLButtonElement, stop: HTMLButtonElement, now: HTMLButtonElement,
   *   palette: HTMLElement, note: HTMLElement}} elements
   * @param {Actions} actions
   */
  constructor(elements, actions) {
    this.#elements = elements;
    this.#actions = actions;
    const { form, input, stop, now } = elements;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener('click', (event) => {
      if (event.target === form) input.focus();
    });
    input.addEventListener('input', () => this.#changed());
    input.addEventListener('keydown', (event) => this.#key(event));
    input.addEventListener('blur', () => this.#showChoices([]));
    input.addEventListener('focus', () => this.refresh());
    now.addEventListener('click', () => this.#submit('steer'));
    stop.addEventListener('click', () => {
      actions.stop();
      input.focus();
    });
  }

  /** @param {State} state */
  update({ running, stopping, steerable, files }) {
    const { send, stop, now, input, note } = this.#elements;
    const empty = files === 'none' && input.value.trim() === '';
    if (files !== this.#files && note.textContent === FILES[this.#files]) this.tell('');
    this.#files = files;
    if (stop.hidden === running) stop.hidden = !running;
    stop.disabled = stopping;
    send.disabled = empty || this.#waitsForFiles();
    // A command is carried out at once anyway.
    this.#steers = running && !stopping && steerable && !isCommand(input.value);
    now.disabled = send.disabled;
    now.hidden = empty || !this.#steers;
    send.hidden = running && empty;
    send.setAttribute('aria-label', running ? 'Send when the answer is finished' : 'Send');
    const what = running ? 'Write the next message' : 'Write a message';
    input.placeholder = files === 'none' ? what : 'Add a message (optional)';
  }

  /** A command takes no files, so they stay for the next message. */
  #waitsForFiles() {
    const { value } = this.#elements.input;
    return (this.#files === 'busy' || this.#files === 'failed') && !isCommand(value);
  }

  /** Shows what the text may become; called again when the list of commands arrives. */
  refresh() {
    const { input } = this.#elements;
    const shown = input.value !== this.#dismissed && document.activeElement === input;
    this.#showChoices(shown ? this.#choicesFor(input.value) : []);
  }

  /** @param {string} text @returns {Choice[]} */
  #choicesFor(text) {
    const typed = /^\/([^\s/]*)$/.exec(text)?.[1].toLowerCase();
    if (typed === undefined)
      return this.#actions
        .mentionable(text)
        .map((name) => ({ text: `@${name} `, summary: '', whole: false }));
    return this.#actions
      .commands()
      .filter(({ name }) => name.startsWith(typed))
      .map(({ name, summary }) => ({ text: `/${name}`, summary, whole: true }));
  }

  /** Puts a text back, unless the box has another one. @param {string} text */
  restore(text) {
    const { input } = this.#elements;
    if (input.value === '') this.write(text);
  }

  /** Puts a text back, after another one that the box may have. @param {string} text */
  rescue(text) {
    const { value } = this.#elements.input;
    this.write(value.trim() === '' ? text : `${value}\n\n${text}`);
  }

  /** Says something until the text changes. @param {string} sentence */
  tell(sentence) {
    setText(this.#elements.note, sentence);
  }

  /** @param {string} text */
  write(text) {
    const { input } = this.#elements;
    input.value = text;
    input.focus();
    input.setSelectionRange(text.length, text.length);
    this.#changed();
  }

  #changed() {
    const { input } = this.#elements;
    this.#dismissed = '';
    this.tell('');
    if (!CSS.supports('field-sizing', 'content')) {
      input.style.height = 'auto';
      input.style.height = `${input.scrollHeight}px`;
    }
    this.refresh();
    input.dispatchEvent(new CustomEvent('changed', { bubbles: true }));
  }

  /** @param {'steer'} [overlap] */
  #submit(overlap) {
    const { input } = this.#elements;
    const text = textIn(input.value);
    if (text === '' && this.#files === 'none') return;
    if (this.#waitsForFiles()) return this.tell(FILES[this.#files]);
    this.write('');
    this.#actions.send(text, overlap);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.#choices.length > 0 && this.#paletteKey(event)) return event.preventDefault();
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      const now = (event.ctrlKey || event.metaKey) && this.#steers;
      this.#submit(now ? 'steer' : undefined);
    } else if (event.key === 'ArrowUp' && this.#elements.input.value === '') {
      const last = this.#actions.lastMessage();
      if (last === undefined) return;
      event.preventDefault();
      this.write(last);
    }
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the list handled the key */
  #paletteKey(event) {
    const { key, shiftKey } = event;
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (step !== undefined) {
      this.#chosen = (this.#chosen + step + this.#choices.length) % this.#choices.length;
      this.#draw();
    } else if (key === 'Escape') {
      event.stopPropagation();
      this.#dismissed = this.#elements.input.value;
      this.#showChoices([]);
    } else if (key === 'Tab' && !shiftKey) {
      this.#dismissed = this.#complete();
      this.#showChoices([]);
    } else if (key === 'Enter' && !shiftKey) {
      const { whole } = this.#choices[this.#chosen];
      this.#dismissed = this.#complete();
      this.#showChoices([]);
      return !whole;
    } else return false;
    return true;
  }

  #complete() {
    const { text } = this.#choices[this.#chosen];
    this.write(text);
    return text;
  }

  /** @param {readonly Choice[]} choices */
  #showChoices(choices) {
    if (choices.length === 0 && this.#choices.length === 0) return;
    this.#choices = choices;
    this.#chosen = Math.min(this.#chosen, Math.max(choices.length - 1, 0));
    this.#draw();
  }

  /** @param {number} index */
  #choose(index) {
    if (index === this.#chosen) return;
    this.#chosen = index;
    const { palette, input } = this.#elements;
    for (const [at, option] of [...palette.children].entries())
      option.setAttribute('aria-selected', String(at === index));
    input.setAttribute('aria-activedescendant', `command-${index}`);
  }

  #draw() {
    const { palette, input } = this.#elements;
    const options = this.#choices.map(({ text, summary, whole }, index) =>
      el(
        'li',
        {
          id: `command-${index}`,
          role: 'option',
          'aria-selected': String(index === this.#chosen),
          mousemove: () => this.#choose(index),
          // Before `click`, since then the box has lost the focus, which closes the list.
          mousedown: (/** @type {Event} */ event) => {
            event.preventDefault();
            this.#chosen = index;
            this.#dismissed = this.#complete();
            this.#showChoices([]);
            if (whole) this.#submit();
          },
        },
        el('span', { class: 'command-name', dir: 'auto' }, text.trimEnd()),
        summary !== '' && el('span', { class: 'command-summary', dir: 'auto' }, summary),
      ),
    );
    palette.replaceChildren(...options);
    palette.hidden = options.length === 0;
    if (options.length > 0) {
      input.setAttribute('aria-activedescendant', `command-${this.#chosen}`);
      options[this.#chosen].scrollIntoView({ block: 'nearest' });
    } else input.removeAttribute('aria-activedescendant');
  }
}
