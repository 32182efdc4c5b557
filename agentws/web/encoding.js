/**
 * Frames as text.
 *
 * @module
 */

/** Escapes in JSON; half a pair is the only thing that is written as `\ud8..` to `\udf..`. */
const ESCAPES = /\\(?:ud[89a-f][0-9a-f]{2}|.)/g;

/**
 * `frame` as JSON that every server reads. A text cut in the middle of a character holds half a
 * surrogate pair, which is no Unicode: U+FFFD takes its place, in names and values.
 *
 * @param {object} frame
 * @returns {string}
 */
export function encode(frame) {
  return JSON.stringify(frame).replace(ESCAPES, (escape) =>
    escape.startsWith('\\ud') ? '\ufffd' : escape,
  );
}
