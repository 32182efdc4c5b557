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
const PLACES =
  'p, h1, h2, h3, h4, h5, h6, ul, ol, li, blockquote, div, table, thead, tbody, tr, th, td, pre, pre > code';

export class MarkdownView {
  element = el('div', { class: 'prose' });
  #written = '';
  #ended = false;
  #growing = new GrowingMarkdown();
  /** @type {Block[]} what the element's children show */
  #shown = [];
  #tail = document.createTextNode('');

  /** @param {string} text all of it so far @param {boolean} done */
  update(text, done) {
    // A snapshot may tell another text than the one that was being written.
    if (
      text.slice(0, this.#written.length) !== this.#written ||
      (this.#ended && text.length > this.#written.length)
    )
      this.#reset();
    if (this.#ended) return;
    if (done) this.#finish(text);
    else if (text.length > this.#written.length) this.#grow(text.slice(this.#written.length));
    this.#written = text;
    this.#ended = done;
  }

  /** @param {string} piece */
  #grow(piece) {
    const { closed, open: before } = this.#growing;
    const settled = closed.length;
    this.#growing.write(piece);
    const { open, tail } = this.#growing;
    this.#show([...closed.slice(settled), ...open], before.length);
    this.#highlight(closed.length - settled, open.length);
    this.#showTail(tail);
  }

  /** Parsed whole, so that a definition at the end holds for every link. @param {string} text */
  #finish(text) {
    const { open } = this.#growing;
    const marked = this.#shown.length - open.length;
    this.#show(parseWhole(text), this.#shown.length);
    this.#highlight(this.#shown.length - marked, 0);
  }

  /** @param {Block[]} blocks @param {number} replaced how many at the end they take the place of */
  #show(blocks, replaced) {
    this.#tail.remove();
    const kept = this.#shown.length - replaced;
    patchChildren(this.element, this.#shown.slice(kept), blocks, this.#fromEnd(replaced));
    this.#shown.length = kept;
    for (const block of blocks) this.#shown.push(block);
  }

  /**
   * Counted from the end, where the changes are: elsewhere a browser counts through all children.
   *
   * @param {number} count @returns {any} the first of the last `count` children
   */
  #fromEnd(count) {
    let node = count > 0 ? this.element.lastChild : null;
    for (let passed = 1; passed < count; passed++) node = node?.previousSibling ?? null;
    return node;
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

  /** @param {number} count of blocks that no longer change @param {number} after how many stand after them */
  #highlight(count, after) {
    let element = count > 0 ? this.#fromEnd(count + after) : null;
    const first = this.#shown.length - count - after;
    for (const block of this.#shown.slice(first, first + count)) {
      // A search of elements costs more than all the rest where an answer has thousands of blocks.
      if (holdsCode(block)) element?.querySelectorAll('pre > code').forEach(highlight);
      element = element?.nextSibling;
    }
  }

  #reset() {
    this.element.replaceChildren();
    this.#growing = new GrowingMarkdown();
    this.#shown = [];
    this.#written = '';
    this.#ended = false;
  }
}

/** @param {import('./blocks.js').Child} child @returns {boolean} */
function holdsCode(child) {
  return typeof child !== 'string' && (child.tag === 'code-block' || child.children.some(holdsCode));
}
