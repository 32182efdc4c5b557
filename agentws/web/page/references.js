/**
 * Named character references (`&nbsp;`). Those that people write are here; the others are loaded when a text has one.
 *
 * @module
 */

/** Names of consecutive characters; a number sets the next one. */
const COMMON = [
  '34 quot 38 amp apos 60 lt 62 gt 160 nbsp 163 pound 167 sect 169 copy 171 laquo 174 reg 176 deg plusmn',
  '183 middot 187 raquo 215 times 8204 zwnj zwj 8211 ndash mdash 8216 lsquo rsquo 8220 ldquo rdquo 8226',
  'bull 8230 hellip 8364 euro 8482 trade 8592 larr uarr rarr darr harr 8658 rArr 8722 minus 8800 ne 8804',
  'le ge',
].join(' ');

/** @type {Map<string, string>} */
const names = readNames(COMMON);
/** @type {Promise<void> | null} */
let loading = null;
let isComplete = false;
let isMissed = false;

/**
 * @param {string} text names, `=` before a further name of the same character, and numbers: the code points of the
 *     next one, joined by `+`
 */
function readNames(text) {
  const read = new Map();
  let next = [0];
  for (const word of text.split(' ')) {
    if (/^\d/.test(word)) next = word.split('+').map(Number);
    else if (word.startsWith('='))
      read.set(word.slice(1), String.fromCodePoint(next[0] - 1, ...next.slice(1)));
    else read.set(word, String.fromCodePoint(next[0]++, ...next.slice(1)));
  }
  return read;
}

/** @param {string} reference `&name;` @returns {string} the same if it is not known */
export function decodeHTMLStrict(reference) {
  const found = names.get(reference.slice(1, -1));
  if (found === undefined) isMissed = true;
  return found ?? reference;
}

/** @returns {boolean} whether a name was asked for since the last call that is not known until the others are loaded */
export function isIncomplete() {
  const missed = isMissed && !isComplete;
  isMissed = false;
  return missed;
}

/** Loads all names. Rejects without a network; then it can be called again. */
export function loadReferences() {
  loading ??= import('../vendor/references.js').then(
    ({ NAMES }) => {
      for (const [name, characters] of readNames(NAMES)) names.set(name, characters);
      isComplete = true;
    },
    (error) => {
      loading = null;
      throw error;
    },
  );
  return loading;
}
