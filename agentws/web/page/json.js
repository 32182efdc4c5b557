/**
 * JSON spread over lines as it was said: every number, string and doubled key keeps its spelling, since
 * nothing of it goes through a value of this language.
 *
 * @module
 */

/** Deeper than this, spaces would be more than the text. */
const DEEPEST = 100;
/** Of so many characters at most, before and after; more would make the page stand still, and nobody reads it. */
const LONGEST = 1_000_000;

/**
 * @param {string} text
 * @returns {string | null} an object or a list, laid out; null for what is neither, not whole, no JSON, or too much
 */
export function laidOut(text) {
  const may = text.length <= LONGEST && /^[ \t\r\n]*[{[]/.test(text);
  return may && isJson(text) ? spread(text) : null;
}

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** @param {string} text valid JSON @returns {string | null} */
function spread(text) {
  /** @type {string[]} */
  const parts = [];
  let depth = 0;
  let before = '';
  // Of a deep one, the spaces may be many times the text.
  let length = 0;
  for (let at = 0; at < text.length;) {
    const end = endOfToken(text, at);
    const token = text.slice(at, end);
    at = end;
    if (/^\s/.test(token)) continue;
    length += token.length + 2 * depth;
    if (depth > DEEPEST || length > LONGEST) return null;
    if (token === '{' || token === '[') {
      parts.push(token, line(++depth));
    } else if (token === '}' || token === ']') {
      depth--;
      // Of an empty one, both ends stand together.
      if (before === '{' || before === '[') parts[parts.length - 1] = token;
      else parts.push(line(depth), token);
    } else if (token === ',') parts.push(token, line(depth));
    else parts.push(token === ':' ? ': ' : token);
    before = token;
  }
  return parts.join('');
}

/** @param {string} text @param {number} at @returns {number} */
function endOfToken(text, at) {
  if (text[at] === '"') return endOfString(text, at);
  if ('{}[],: \t\r\n'.includes(text[at])) return at + 1;
  let end = at + 1;
  while (end < text.length && !'{}[],: \t\r\n'.includes(text[end])) end++;
  return end;
}

/** @param {string} text @param {number} at @returns {number} */
function endOfString(text, at) {
  let end = at + 1;
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end + 1;
}

/** @param {number} depth */
function line(depth) {
  return `\n${'  '.repeat(depth)}`;
}
