/**
 * Parses Markdown to a tree of plain objects: CommonMark with tables, strikethrough, task lists and bare
 * addresses. Pure. HTML is not parsed: it stays text.
 *
 * @module
 */
import * as parts from '../vendor/markdown-it.js';
import { addresses } from './addresses.js';

/**
 * @typedef {{tag: string, props: Record<string, any>, children: Child[], end?: number}} Block `end` is the line after
 *     its last one, for a block of the top level
 * @typedef {Block | string} Child
 * @typedef {Record<string, object>} References the link reference definitions by their label
 */

/** Deeper elements are put beside each other: browsers limit how deep elements nest. */
const MAX_DEPTH = 100;
const FOOTNOTE = /^\[\^/;
/** A label before a word that is not an address. */
const LABELLED_WORD =
  /^\[((?:\\.|[^\]\\])*)\]:[ \t]*(?![a-z][a-z\d+.-]*:|\S*(?:[/#?@<(\\]|\.[a-z]))\S/i;
/** A label that a list of sources may have: `[1]`, `[Smith2020]`. */
const LABELLED_SOURCE = /^\[([^\]\\]*\d[^\]\\]*)\]:/;
const LABELS = /\[((?:\\.|[^[\]\\])+)\](?!:)/g;
/** @type {WeakMap<object, Set<string>>} the labels that links of a text may refer to, by its parser's `env` */
const labels = new WeakMap();

/** @type {any} */
const block = new parts.ParserBlock();
const inline = new parts.ParserInline();
keepNotes(block.ruler);

/** What the rules of markdown-it read. */
const markdown = {
  options: { html: false, linkify: true, maxNesting: MAX_DEPTH },
  block,
  inline,
  helpers: parts,
  linkify: addresses,
  // `setAddress` in `tree.js` validates an address when it becomes a link of the page.
  validateLink: () => true,
  normalizeLink: escaped,
  // An address is shown as it was written, with its percent signs.
  normalizeLinkText: (/** @type {string} */ text) => text,
};

/** Escapes what may not be in an address, and leaves what is escaped. @param {string} address */
function escaped(address) {
  // The brackets of an IPv6 address.
  const [origin] = /^\w+:\/\/\[[^\]]*\]/.exec(address) ?? [''];
  const rest = address.slice(origin.length).replace(/\p{Surrogate}/gu, '\ufffd');
  return (
    origin + rest.replace(/%(?![\da-fA-F]{2})|[^\w;/?:@&=+$,.!~*'()#%-]/gu, encodeURIComponent)
  );
}

/**
 * A link definition is not shown, so text that only looks like one must not become one: a footnote
 * (`[^1]: Smith`), and after a label that no link uses a word (`[ERROR]: timeout`) or a source (`[1]: https:`).
 * While the text grows, a link may still come that uses the source.
 *
 * @param {any} ruler
 */
function keepNotes(ruler) {
  const all = ruler.getRules('');
  ruler.disable('reference');
  const others = new Set(ruler.getRules(''));
  const define = all.find((/** @type {any} */ rule) => !others.has(rule));
  /** @param {any} state @param {number} line @param {...unknown} rest */
  const defineAddress = (state, line, ...rest) => {
    const source = state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]);
    return !isNote(source, state) && define(state, line, ...rest);
  };
  ruler.at('reference', defineAddress);
  ruler.enable('reference');
}

/** @param {string} line @param {{src: string, env: {whole?: boolean}}} state */
function isNote(line, { src, env }) {
  if (FOOTNOTE.test(line)) return true;
  const [, label] =
    LABELLED_WORD.exec(line) ?? (env.whole ? LABELLED_SOURCE.exec(line) : null) ?? [];
  if (label === undefined) return false;
  const known = labels.get(env) ?? labelsOf(src);
  labels.set(env, known);
  return !known.has(parts.normalizeReference(label));
}

/** @param {string} source */
function labelsOf(source) {
  const found = source.matchAll(LABELS);
  return new Set(Array.from(found, ([, label]) => parts.normalizeReference(label)));
}

/** @type {Record<string, (token: any) => Block | string>} of a token that opens an element, or stands alone */
const MAKERS = {
  paragraph_open: byTag,
  heading_open: byTag,
  blockquote_open: byTag,
  bullet_list_open: byTag,
  ordered_list_open: (token) => node('ol', { start: Number(token.attrGet('start') ?? 1) }),
  list_item_open: byTag,
  hr: byTag,
  fence: codeBlock,
  code_block: codeBlock,
  table_open: () =>
    node('div', { class: 'table', tabIndex: 0, role: 'region', 'aria-label': 'Table' }, [
      node('table'),
    ]),
  thead_open: byTag,
  tbody_open: byTag,
  tr_open: byTag,
  th_open: cell,
  td_open: cell,
  text: ({ content }) => content,
  softbreak: () => '\n',
  hardbreak: () => node('br'),
  code_inline: ({ content }) => node('code', { dir: 'ltr' }, [content]),
  em_open: byTag,
  strong_open: byTag,
  s_open: byTag,
  link_open: link,
  image,
};

/**
 * @param {string} source
 * @param {References} references known ones; `parse` adds those that `source` defines
 * @param {boolean} [whole] whether `source` is a whole text
 * @returns {Block[]} the blocks of the top level
 */
export function parse(source, references, whole) {
  /** @type {Block[]} */
  const blocks = [];
  assemble(tokensOf(source, { references, whole }), blocks);
  return blocks;
}

/** @param {string} source @param {{references: References, whole?: boolean}} env @returns {any[]} */
function tokensOf(source, env) {
  /** @type {any[]} */
  const all = [];
  block.parse(source.replace(/\r\n?/g, '\n').replaceAll('\0', '\ufffd'), markdown, env, all);
  const tokens = all.filter(({ type }) => type !== 'reference_definition');
  for (const { type, content, children } of tokens)
    if (type === 'inline') inline.parse(content, markdown, env, children);
  parts.linkify({ tokens, md: markdown, Token: parts.Token });
  parts.joinTexts({ tokens });
  return tokens;
}

/** @param {any[]} tokens @param {Child[]} root */
function assemble(tokens, root) {
  const lists = [root];
  for (const [index, token] of tokens.entries()) {
    const into = lists[lists.length - 1];
    // The paragraphs of a tight list are hidden: their text belongs to the item.
    if (token.hidden) continue;
    if (token.type === 'inline') {
      if (tokens[index - 2]?.type === 'list_item_open') checkbox(token.children, into);
      assemble(token.children, into);
    } else if (token.nesting < 0) lists.pop();
    else if (token.nesting > 0 && lists.length > MAX_DEPTH) lists.push(into);
    else {
      const made = (MAKERS[token.type] ?? verbatim)(token);
      append(into, made);
      if (typeof made === 'string') continue;
      if (into === root && token.map) markTopLevel(made, token.map[1]);
      if (token.nesting > 0) lists.push(slot(made));
    }
  }
}

/** Joins adjacent texts. @param {Child[]} list @param {Child} child */
function append(list, child) {
  const last = list.at(-1);
  if (typeof child === 'string' && typeof last === 'string') list[list.length - 1] = last + child;
  else if (child !== '') list.push(child);
}

/**
 * Each block of the top level has its own text direction, which everything in it shares: the markers of a list
 * are all on one side.
 *
 * @param {Block} block @param {number} end
 */
function markTopLevel(block, end) {
  block.end = end;
  if (block.tag !== 'code-block') block.props.dir = 'auto';
}

/** @param {Block} block @returns {Child[]} where its content goes */
function slot({ children }) {
  return typeof children[0] === 'object' ? children[0].children : children;
}

/** @param {string} tag @param {Record<string, any>} [props] @param {Child[]} [children] @returns {Block} */
function node(tag, props = {}, children = []) {
  return { tag, props, children };
}

/** @param {any} token */
function byTag({ tag }) {
  return node(tag);
}

/** For a token type that this version of the parser does not have. @param {any} token @returns {string} */
function verbatim({ content }) {
  return content;
}

/** @param {any} token */
function codeBlock({ content, info }) {
  return node('code-block', { info: parts.unescapeAll(info ?? '').trim() }, [content]);
}

/** @param {any} token */
function cell(token) {
  const align = token.attrGet('style')?.replace('text-align:', 'align-');
  return node(token.tag, align ? { class: align } : {});
}

/** @param {any} token */
function link(token) {
  const title = token.attrGet('title');
  // A bare address reads from left to right in every language.
  const bare = token.info === 'auto';
  return node('a', {
    address: token.attrGet('href'),
    ...(title && { title }),
    ...(bare && { dir: 'ltr' }),
  });
}

/** A link instead of the image: fetching it would tell its server who reads the answer. @param {any} token */
function image(token) {
  const address = token.attrGet('src');
  const title = token.attrGet('title');
  const text = textOf(token.children) || address;
  return node('a', { class: 'image-link', address, ...(title && { title }) }, text ? [text] : []);
}

/** @param {any[]} tokens @returns {string} */
function textOf(tokens) {
  return tokens
    .map(({ type, content, children }) => {
      if (type === 'softbreak' || type === 'hardbreak') return '\n';
      return type === 'image' ? textOf(children) : content;
    })
    .join('');
}

/** Turns `[ ]` and `[x]` at the beginning of an item into a checkbox. @param {any[]} tokens @param {Child[]} into */
function checkbox([first], into) {
  const [marks, mark] = /^\[([ xX])\]\s/.exec(first?.type === 'text' ? first.content : '') ?? [];
  if (!marks) return;
  into.push(node('input', { type: 'checkbox', disabled: true, checked: mark !== ' ' }));
  first.content = first.content.slice(marks.length);
}
