/**
 * Markdown that is still being written. Only what can change is parsed again: the block at the end. Pure.
 *
 * @module
 */
import { parse } from './blocks.js';

/** @typedef {import('./blocks.js').Block} Block */

/** An open block of up to so many characters is parsed with every piece. */
const SMALL = 4096;
/**
 * A larger one when it has grown by this part of itself, or by that part with a line's end in it: so parsing all
 * of a text is linear in its length.
 */
const PART = 16;
const PART_WITH_LINE = 64;
/** A line that may become anything: the marker of an item, a rule, or what makes a heading of the line before. */
const MARKS = /^[-=*_+#`~|:> \t]+$/;

/**
 * A text in pieces, as blocks. A definition (`[label]: address`) holds for links that come after it; the
 * links before it are right when the text has ended and is parsed whole.
 */
export class GrowingMarkdown {
  /** @type {Block[]} what no further text changes */
  closed = [];
  /** @type {Block[]} what the next piece may change */
  open = [];
  /** Text that came since `open` was parsed, of a large block. */
  tail = '';
  /** @type {import('./blocks.js').References} of the closed blocks */
  #references = {};
  /** What `open` was made of; `late` came since. */
  #source = '';
  #late = '';
  /** The end of the source that is not shown yet. */
  #held = '';
  /** How much of the source consists of lines that were looked at for blocks that have closed. */
  #looked = 0;
  #half = '';

  /** @param {string} piece */
  write(piece) {
    const text = this.#half + piece;
    // The other half of a line's end may be in the next piece.
    this.#half = text.endsWith('\r') ? '\r' : '';
    this.#late += withLines(text.slice(0, text.length - this.#half.length));
    if (this.#isDue()) this.#parse();
    this.tail = this.#late === '' ? '' : this.#held + this.#late;
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
    const shown = visible(this.#source);
    this.#held = this.#source.slice(shown);
    this.open = parse(this.#source.slice(0, shown), Object.create(this.#references));
  }

  /**
   * Closes every block that another one follows. Only whole lines tell: `---` below a paragraph makes it a
   * heading, `--- and more` does not. The boundary is the end of a block, not the beginning of the next,
   * since between them may be a definition whose title goes on.
   */
  #close() {
    const whole = this.#source.lastIndexOf('\n') + 1;
    if (whole === this.#looked) return false;
    const blocks = parse(this.#source.slice(0, whole), Object.create(this.#references));
    const end = offsetOfLine(this.#source, blocks.at(-2)?.end ?? 0);
    this.#looked = whole - end;
    if (end === 0) return false;
    for (const block of parse(this.#source.slice(0, end), this.#references))
      this.closed.push(block);
    this.#source = this.#source.slice(end);
    return true;
  }
}

/** @param {string} text @returns {Block[]} a text that has ended */
export function parseWhole(text) {
  return parse(text, {});
}

/** @param {string} text with lines that end as on any system */
function withLines(text) {
  return text.replace(/\r\n?/g, '\n');
}

/** @param {string} source @returns {number} how much of it is shown while more may come */
function visible(source) {
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
