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
  if (typeof value === 'number' && source !== String(value)) setSpelling(this, key, source);
  return value;
}

/** @param {object} holder @param {string} key @param {string | undefined} spelling */
function setSpelling(holder, key, spelling) {
  if (spelling === undefined) return;
  const members = spellings.get(holder) ?? new Map();
  spellings.set(holder, members.set(key, spelling));
}

/**
 * Gives a copy in which the member `key` was changed the spellings of what it was made of.
 *
 * @template {object} T
 * @param {T} copy @param {object} source @param {string} key
 * @param {number} shift of the places behind `key` in an array: 1 if it was inserted, -1 if it was removed
 * @param {[holder: object, key: string]} [from] where the new member is from
 * @returns {T} `copy`
 */
export function respelled(copy, source, key, shift, from) {
  for (const [one, spelling] of spellings.get(source) ?? []) {
    const moves = shift !== 0 && Number(one) >= Number(key);
    if (one !== key || shift > 0)
      setSpelling(copy, moves ? String(Number(one) + shift) : one, spelling);
  }
  if (from) setSpelling(copy, key, spellings.get(from[0])?.get(from[1]));
  return copy;
}

/**
 * @param {any} holder @param {string} key
 * @param {unknown} [value] what is there
 * @returns {any} the same, or a `JSON.rawJSON` of a number with another spelling than JavaScript's
 */
export function exactMember(holder, key, value = holder[key]) {
  const { rawJSON } = /** @type {any} */ (JSON);
  const spelling = spellings.get(holder)?.get(key);
  return spelling !== undefined && rawJSON ? rawJSON(spelling) : value;
}

/** @param {unknown} value @returns {string} its JSON on one line */
export function spelled(value) {
  /** @this {any} @param {string} key @param {unknown} member */
  function asWritten(key, member) {
    return exactMember(this, key, member);
  }
  return JSON.stringify(value, asWritten);
}
