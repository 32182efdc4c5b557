/**
 * Incremental Markdown: parses only the block at the end again, since only that can change. Pure.
 *
 * @module
 */
import { parse } from './blocks.js';

/** @typedef {import('./blocks.js').Block} Block */

/** An open block of up to this many characters is parsed again for every piece. */
const SMALL = 4096;
/**
 * A larger block is parsed when it has grown by 1/PART of its length, or by 1/PART_WITH_LINE with a line end in
 * it. So parsing a whole text takes time linear in its length.
 */
const PART = 16;
const PART_WITH_LINE = 64;
/** A line that may become a list item, a rule, or the underline of a heading. */
const MARKS = /^[-=*_+#`~|:> \t]+$/;

/**
 * The blocks of a text that arrives in pieces. A link definition (`[label]: address`) applies to the links after
 * it; those before it are resolved when the text has ended and is parsed as a whole.
 */
export class GrowingMarkdown {
  /** @type {Block[]} blocks that no further text changes */
  closed = [];
  /** @type {Block[]} blocks that the next piece may change */
  open = [];
  /** The text of a large block that arrived since `open` was parsed. */
  tail = '';
  /** @type {import('./blocks.js').References} of the closed blocks */
  #references = {};
  /** What `open` was parsed from; `late` arrived since. */
  #source = '';
  #late = '';
  /** The end of the source, which is not shown yet: see MARKS. */
  #hidden = '';
  /** How much of the source was searched for closed blocks. */
  #searched = 0;
  /** A carriage return at the end of the last piece. */
  #half = '';

  /** @param {string} piece */
  write(piece) {
    const text = this.#half + piece;
    // The line feed of a CRLF may be in the next piece.
    this.#half = text.endsWith('\r') ? '\r' : '';
    this.#late += withLines(text.slice(0, text.length - this.#half.length));
    if (this.#isDue()) this.#parse();
    this.tail = this.#late === '' ? '' : this.#hidden + this.#late;
  }

  #isDue() {
    const { length } = this.#source;
    const part = this.#late.includes('\n') ? PART_WITH_LINE : PART;
    return length < SMALL || this.#late.length * part >= length;
  }

  #parse() {
    this.#source += this.#late;
    this.#late = '';
    this.#parseVisible();
    if (this.open.length > 1 && this.#close()) this.#parseVisible();
  }

  #parseVisible() {
    const shown = visibleLength(this.#source);
    this.#hidden = this.#source.slice(shown);
    this.open = parse(this.#source.slice(0, shown), Object.create(this.#references));
  }

  /**
   * Closes every block that is followed by another one. It looks at whole lines only: `---` below a paragraph
   * makes it a heading, `--- and more` does not. The boundary is the end of a block, not the beginning of the
   * next, since a link definition between them may continue.
   */
  #close() {
    const whole = this.#source.lastIndexOf('\n') + 1;
    if (whole === this.#searched) return false;
    const blocks = parse(this.#source.slice(0, whole), Object.create(this.#references));
    const end = offsetOfLine(this.#source, blocks.at(-2)?.end ?? 0);
    this.#searched = whole - end;
    if (end === 0) return false;
    for (const block of parse(this.#source.slice(0, end), this.#references))
      this.closed.push(block);
    this.#source = this.#source.slice(end);
    return true;
  }
}

/** @param {string} text that has ended @returns {Block[]} */
export function parseWhole(text) {
  return parse(text, {}, true);
}

/** @param {string} text with any line ends @returns {string} with line feeds */
function withLines(text) {
  return text.replace(/\r\n?/g, '\n');
}

/** @param {string} source @returns {number} how many characters are shown while more may arrive */
function visibleLength(source) {
  const line = source.lastIndexOf('\n') + 1;
  return MARKS.test(source.slice(line)) ? line : source.length;
}

/** @param {string} text @param {number} line @returns {number} where the line begins */
function offsetOfLine(text, line) {
  let offset = 0;
  for (let passed = 0; passed < line; passed++) {
    const end = text.indexOf('\n', offset);
    if (end < 0) return text.length;
    offset = end + 1;
  }
  return offset;
}
