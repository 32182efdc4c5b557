/**
 * A view of Markdown that is still streaming. It never parses HTML: elements are made from the text directly.
 *
 * @module
 */
import { el } from './dom.js';
import { GrowingMarkdown, parseWhole } from './growing.js';
import { highlight } from './highlight.js';
import { isIncomplete, loadReferences } from './references.js';
import { patchChildren } from './tree.js';

/** @typedef {import('./blocks.js').Block} Block */

/** Elements that the tail of a text may be appended to. */
const CONTAINERS =
  'p, h1, h2, h3, h4, h5, h6, ul, ol, li, blockquote, div, table, thead, tbody, tr, th, td, pre, pre > code';

export class MarkdownView {
  element = el('div', { class: 'prose' });
  #written = '';
  #ended = false;
  #growing = new GrowingMarkdown();
  /** @type {Block[]} the blocks of the element's children */
  #shown = [];
  #tail = document.createTextNode('');

  /** @param {string} text all of it so far @param {boolean} done */
  update(text, done) {
    // A snapshot may have another text than the one that was streaming.
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
    // What can't be loaded is shown as it was written.
    if (isIncomplete())
      loadReferences().then(
        () => this.#again(),
        () => {},
      );
  }

  /** Parses the text again, for names of characters that were not known. */
  #again() {
    const text = this.#written;
    const ended = this.#ended;
    this.#reset();
    this.update(text, ended);
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

  /** Parses the whole text, so that a link definition at the end applies to every link. @param {string} text */
  #finish(text) {
    const { open } = this.#growing;
    const marked = this.#shown.length - open.length;
    this.#show(parseWhole(text), this.#shown.length);
    this.#highlight(this.#shown.length - marked, 0);
  }

  /** @param {Block[]} blocks @param {number} replaced how many blocks at the end they replace */
  #show(blocks, replaced) {
    this.#tail.remove();
    const kept = this.#shown.length - replaced;
    patchChildren(this.element, this.#shown.slice(kept), blocks, this.#fromEnd(replaced));
    this.#shown.length = kept;
    for (const block of blocks) this.#shown.push(block);
  }

  /**
   * Counts from the end, where the changes are: an index from the start makes a browser walk all children.
   *
   * @param {number} count @returns {any} the first of the last `count` children
   */
  #fromEnd(count) {
    let node = count > 0 ? this.element.lastChild : null;
    for (let passed = 1; passed < count; passed++) node = node?.previousSibling ?? null;
    return node;
  }

  /** Shows the end of a large block as plain text until the block is parsed again. @param {string} text */
  #showTail(text) {
    if (text === '') return;
    let place = this.element;
    while (
      place.lastElementChild?.matches(CONTAINERS) &&
      place.lastChild === place.lastElementChild
    )
      place = place.lastElementChild;
    this.#tail.data = text;
    place.append(this.#tail);
  }

  /** @param {number} count of blocks that no longer change @param {number} after how many blocks follow them */
  #highlight(count, after) {
    let element = count > 0 ? this.#fromEnd(count + after) : null;
    const first = this.#shown.length - count - after;
    for (const block of this.#shown.slice(first, first + count)) {
      // In an answer of thousands of blocks, searching the elements would cost more than everything else.
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
  return (
    typeof child !== 'string' && (child.tag === 'code-block' || child.children.some(holdsCode))
  );
}
