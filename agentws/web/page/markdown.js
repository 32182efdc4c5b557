/**
 * Markdown that is still being written, as elements that are only ever added to: nothing flickers and
 * a selection stays. No markup is parsed, and no address becomes a link unless its scheme is harmless.
 *
 * @module
 */
import {
  CHECKBOX,
  CODE_BLOCK,
  CODE_FENCE,
  EQUATION_BLOCK,
  EQUATION_INLINE,
  HREF,
  IMAGE,
  LANG,
  LINK,
  RAW_URL,
  SRC,
  TABLE,
  default_renderer,
  parser,
  parser_end,
  parser_write,
} from '../vendor/streaming-markdown.js';
import { copyButton, el } from './dom.js';
import { highlight } from './highlight.js';

const SCHEMES = new Set(['http:', 'https:', 'mailto:']);

/** A place that shows a growing Markdown text. */
export class MarkdownView {
  element = el('div', { class: 'prose' });
  #written = '';
  #ended = false;
  /** @type {any} */
  #parser = parser(renderer(this.element));

  /** @param {string} text all of it so far @param {boolean} done */
  update(text, done) {
    // A snapshot may tell another text than the one that was being written.
    if (!text.startsWith(this.#written) || (this.#ended && text.length > this.#written.length))
      this.#reset();
    if (text.length > this.#written.length) {
      parser_write(this.#parser, text.slice(this.#written.length));
      this.#written = text;
    }
    if (done && !this.#ended) {
      parser_end(this.#parser);
      this.#ended = true;
    }
  }

  #reset() {
    this.element.replaceChildren();
    this.#parser = parser(renderer(this.element));
    this.#written = '';
    this.#ended = false;
  }
}

/** @param {HTMLElement} root */
function renderer(root) {
  const base = default_renderer(root);
  /**
   * @param {any} data
   * @param {Element} element
   * @param {Element} [slot] what comes next goes into `slot`
   */
  const push = (data, element, slot = element) => {
    data.nodes[data.index].append(element);
    data.nodes[++data.index] = slot;
  };
  return {
    ...base,
    /** @param {any} data @param {number} type */
    add_token(data, type) {
      if (type === CODE_BLOCK || type === CODE_FENCE) {
        const code = el('code');
        push(data, codeBlock(code), code);
      } else if (type === LINK || type === RAW_URL) push(data, el('a'));
      else if (type === IMAGE) push(data, el('a', { class: 'image-link' }));
      else if (type === EQUATION_BLOCK || type === EQUATION_INLINE)
        push(data, el('code', { class: 'equation' }));
      else if (type === CHECKBOX) push(data, el('input', { type: 'checkbox', disabled: true }));
      else if (type === TABLE) {
        const table = el('table');
        push(
          data,
          el('div', { class: 'table', tabIndex: 0, role: 'region', 'aria-label': 'Table' }, table),
          table,
        );
      } else base.add_token(data, type);
    },
    /** @param {any} data */
    end_token(data) {
      const ended = data.nodes[data.index];
      base.end_token(data);
      if (ended?.localName === 'code' && ended.parentElement?.localName === 'pre') highlight(ended);
    },
    /** @param {any} data @param {string} text */
    add_text(data, text) {
      const node = data.nodes[data.index];
      if (node.lastChild instanceof Text) node.lastChild.appendData(text);
      else node.append(text);
    },
    /** @param {any} data @param {number} type @param {string} value */
    set_attr(data, type, value) {
      const node = data.nodes[data.index];
      if (type === HREF || type === SRC) setAddress(node, value);
      else if (type === LANG) setLanguage(node, value);
      else base.set_attr(data, type, value);
    },
  };
}

/** @param {HTMLElement} code */
function codeBlock(code) {
  return el(
    'div',
    { class: 'code' },
    el(
      'div',
      { class: 'code-head' },
      el('span', { class: 'code-language' }),
      copyButton(() => code.textContent ?? '', 'Copy the code'),
    ),
    el('pre', { tabIndex: 0 }, code),
  );
}

/** @param {HTMLElement} code @param {string} info */
function setLanguage(code, info) {
  const [language] = info.split(/\s/);
  code.dataset.language = language;
  const label = code.closest('.code')?.querySelector('.code-language');
  if (label) label.textContent = language;
}

/** @param {HTMLAnchorElement} link @param {string} address */
function setAddress(link, address) {
  const url = URL.parse?.(address, location.href) ?? parse(address);
  if (!url || !SCHEMES.has(url.protocol)) return;
  link.href = url.href;
  link.target = '_blank';
  link.rel = 'noopener noreferrer';
}

/** @param {string} address */
function parse(address) {
  try {
    return new URL(address, location.href);
  } catch {
    return null;
  }
}
