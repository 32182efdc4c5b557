/**
 * Numbers as they were spelled. A number of this language is a double: 9007199254740993 is none, and 10.00 is
 * 10. Who shows data, not texts, asks here how it was written.
 *
 * @module
 */

/** @type {WeakMap<object, Map<string, string>>} the spelling of members that would be written otherwise */
const spellings = new WeakMap();

/**
 * As `JSON.parse`, slower, and `spelled` knows how the numbers of the result were written, where this
 * browser tells (Chromium 114, Firefox 135, Safari 18.4).
 *
 * @param {string} text
 * @returns {any}
 */
export function parseExactly(text) {
  return JSON.parse(text, /** @type {any} */ (note));
}

/** @this {object} @param {string} key @param {unknown} value @param {{source?: string}} [context] */
function note(key, value, context) {
  const source = context?.source;
  if (typeof value === 'number' && source !== undefined && source !== String(value)) {
    const members = spellings.get(this) ?? new Map();
    spellings.set(this, members.set(key, source));
  }
  return value;
}

/**
 * @param {unknown} value
 * @returns {string} its JSON, on one line; what a patch has changed since is spelled as this language does
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
