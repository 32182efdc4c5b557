/**
 * Pretty-prints JSON without parsing it to values, so that every number, string and duplicate key keeps its
 * spelling.
 *
 * @module
 */

/** Deeper JSON is shown as it is: it would be mostly indentation. */
const MAX_DEPTH = 100;
/** In characters, before and after. Longer JSON is shown as it is: it would block the page. */
const MAX_LENGTH = 1_000_000;

/**
 * @param {string} text
 * @returns {string | null} an object or an array over several lines; null for any other value, for what is not
 *     JSON, incomplete, too deep or too long
 */
export function prettyPrinted(text) {
  const isCandidate = text.length <= MAX_LENGTH && /^[ \t\r\n]*[{[]/.test(text);
  return isCandidate && isJson(text) ? indented(text) : null;
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
function indented(text) {
  /** @type {string[]} */
  const parts = [];
  let depth = 0;
  let before = '';
  // Counts the indentation, which may be many times the text.
  let length = 0;
  for (let at = 0; at < text.length;) {
    const end = endOfToken(text, at);
    const token = text.slice(at, end);
    at = end;
    if (/^\s/.test(token)) continue;
    length += token.length + 2 * depth;
    if (depth > MAX_DEPTH || length > MAX_LENGTH) return null;
    if (token === '{' || token === '[') {
      parts.push(token, line(++depth));
    } else if (token === '}' || token === ']') {
      depth--;
      // An empty object or array stays on one line.
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
