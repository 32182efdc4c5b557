/**
 * Exact numbers in JSON. JavaScript parses a number to a double, which loses digits (9007199254740993) and
 * trailing zeros (10.00). This keeps the spelling of each number, so that a page can show it.
 *
 * @module
 */

/** @type {WeakMap<object, Map<string, string>>} by object and key, where `String(value)` would be different */
const spellings = new WeakMap();

/**
 * `JSON.parse` that records the spelling of numbers for `spelled`; it is slower. Needs Chromium 114,
 * Firefox 135 or Safari 18.4; older browsers record nothing.
 *
 * @param {string} text
 * @returns {any}
 */
export function parseExactly(text) {
  return JSON.parse(text, /** @type {any} */ (record));
}

/** @this {object} @param {string} key @param {unknown} value @param {{source?: string}} [context] */
function record(key, value, context) {
  const source = context?.source;
  if (typeof value === 'number' && source !== undefined && source !== String(value)) {
    const members = spellings.get(this) ?? new Map();
    spellings.set(this, members.set(key, source));
  }
  return value;
}

/**
 * @param {unknown} value
 * @returns {string} its JSON on one line; what a patch has changed since has the spelling of JavaScript
 */
export function spelled(value) {
  const { rawJSON } = /** @type {any} */ (JSON);
  /** @this {any} @param {string} key @param {unknown} member */
  function asWritten(key, member) {
    const source = spellings.get(this)?.get(key);
    return source !== undefined && rawJSON ? rawJSON(source) : member;
  }
  return JSON.stringify(value, asWritten);
}
