/**
 * Highlights code: comments, strings, numbers and common keywords of any language. It uses the CSS Custom
 * Highlight API, which does not change the elements, so that a selection stays.
 *
 * @module
 */

const WORDS = [
  'as async await break case catch class const continue def default del do elif else enum except',
  'export extends finally fn for from func function global if impl import in interface is lambda let',
  'loop match mod mut new nonlocal not null None or and pass pub raise return select self static',
  'struct super switch this throw trait true True false False try type typeof use var void where',
  'while with yield',
]
  .join(' ')
  .replaceAll(' ', '|');

/** Languages in which `#` begins a comment; in others it may be a colour or a heading. */
const HASHES =
  /^(py|python|rb|ruby|sh|bash|zsh|shell|console|ya?ml|toml|r|perl|makefile|dockerfile|conf|ini)?$/i;
const PROSE = /^(text|txt|plain|markdown|md|log|output)$/i;

const COMMENT = String.raw`\/\/[^\n]*|\/\*[\s\S]*?\*\/|<!--[\s\S]*?-->`;
const HASH = String.raw`(?<=^|\s)#[^\n]*`;
const STRING = [
  String.raw`"""[\s\S]*?"""`,
  String.raw`"(?:\\.|[^"\\\n])*"`,
  String.raw`'(?:\\.|[^'\\\n])*'`,
  '`(?:\\\\.|[^`\\\\])*`',
].join('|');
const NUMBER = String.raw`\b(?:0x[\da-fA-F]+|\d[\d_]*(?:\.\d+)?)\b`;

const PLAIN = pattern(COMMENT);
const HASHED = pattern(`${COMMENT}|${HASH}`);

/** @param {string} comment */
function pattern(comment) {
  const kinds = { comment, string: STRING, number: NUMBER, keyword: `\\b(?:${WORDS})\\b` };
  const groups = Object.entries(kinds).map(([kind, source]) => `(?<${kind}>${source})`);
  return new RegExp(groups.join('|'), 'g');
}

const MAX_LENGTH = 50_000;

/** @param {HTMLElement} code of a complete block */
export function highlight(code) {
  const language = code.dataset.language ?? '';
  const [text] = code.childNodes;
  if (
    !('highlights' in CSS) ||
    !(text instanceof Text) ||
    text.length > MAX_LENGTH ||
    PROSE.test(language)
  )
    return;
  for (const match of text.data.matchAll(HASHES.test(language) ? HASHED : PLAIN)) {
    const kind = Object.entries(match.groups ?? {}).find(([, found]) => found !== undefined)?.[0];
    if (!kind) continue;
    // A StaticRange would not keep a removed block in memory, but not every browser paints it.
    const range = new Range();
    range.setStart(text, match.index);
    range.setEnd(text, match.index + match[0].length);
    registry(kind).add(range);
  }
}

/** @param {string} kind @returns {any} */
function registry(kind) {
  const name = `code-${kind}`;
  const highlights = /** @type {any} */ (CSS).highlights;
  if (!highlights.has(name)) highlights.set(name, new /** @type {any} */ (globalThis).Highlight());
  return highlights.get(name);
}

/** Removes all highlights, when another conversation is shown. */
export function clearHighlights() {
  /** @type {any} */ (CSS).highlights?.clear();
}
