/**
 * A place that shows Markdown while it is being written. No markup is parsed on the way from the text to
 * the elements.
 *
 * @module
 */
import { el } from './dom.js';
import { GrowingMarkdown, parseWhole } from './growing.js';
import { highlight } from './highlight.js';
import { patchChildren } from './tree.js';

/** @typedef {import('./blocks.js').Block} Block */

/** What a text can go on in. */
const PLACES = 'p, h1, h2, h3, h4, h5, h6, ul, ol, li, blockquote, div, table, thead, tbody, tr, th, td, pre, pre > code';

export class MarkdownView {
  element = el('div', { class: 'prose' });
  #written = '';
  #ended = false;
  #growing = new GrowingMarkdown();
  /** @type {Block[]} what the element's children show */
  #shown = [];
  #highlighted = 0;
  #tail = document.createTextNode('');

  /** @param {string} text all of it so far @param {boolean} done */
  update(text, done) {
    // A snapshot may tell another text than the one that was being written.
    if (!text.startsWith(this.#written) || (this.#ended && text.length > this.#written.length))
      this.#reset();
    if (this.#ended) return;
    if (done) this.#finish(text);
    else if (text.length > this.#written.length) this.#grow(text.slice(this.#written.length));
    this.#written = text;
    this.#ended = done;
  }

  /** @param {string} piece */
  #grow(piece) {
    const { closed } = this.#growing;
    const settled = closed.length;
    this.#growing.write(piece);
    this.#show([...closed.slice(settled), ...this.#growing.open], settled);
    this.#highlight(closed.length);
    this.#showTail(this.#growing.tail);
  }

  /** Parsed whole, so that a definition at the end holds for every link. @param {string} text */
  #finish(text) {
    this.#show(parseWhole(text), 0);
    this.#highlight(this.#shown.length);
  }

  /** @param {Block[]} blocks @param {number} from the index of the first of them */
  #show(blocks, from) {
    this.#tail.remove();
    patchChildren(this.element, this.#shown.slice(from), blocks, from);
    this.#shown.length = from;
    this.#shown.push(...blocks);
  }

  /** @param {string} text of a large block, as it was written, until the block is parsed again */
  #showTail(text) {
    if (text === '') return;
    let place = this.element;
    while (place.lastElementChild?.matches(PLACES) && place.lastChild === place.lastElementChild)
      place = place.lastElementChild;
    this.#tail.data = text;
    place.append(this.#tail);
  }

  /** @param {number} end the index of the first block that may still change */
  #highlight(end) {
    for (; this.#highlighted < end; this.#highlighted++) {
      const block = this.element.children[this.#highlighted];
      for (const code of block.querySelectorAll('pre > code')) highlight(code);
    }
  }

  #reset() {
    this.element.replaceChildren();
    this.#growing = new GrowingMarkdown();
    this.#shown = [];
    this.#highlighted = 0;
    this.#written = '';
    this.#ended = false;
  }
}
