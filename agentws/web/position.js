/**
 * Positions in a log, `epoch.seq.tag`. Callers treat them as opaque strings and compare them here.
 *
 * @module
 */

/**
 * @param {string} position
 * @returns {{epoch: string, seq: number}}
 */
export function parsePosition(position) {
  const [epoch, seq] = position.split('.');
  return { epoch, seq: Number(seq) };
}

/**
 * @param {string} left
 * @param {string} right
 * @returns {boolean} whether both belong to one log
 */
export function ofOneLog(left, right) {
  return parsePosition(left).epoch === parsePosition(right).epoch;
}

/**
 * @param {string} head the newest position that is known of a log
 * @param {string} position
 * @returns {boolean} whether `position` is of that log and not after `head`
 */
export function covers(head, position) {
  return ofOneLog(head, position) && parsePosition(position).seq <= parsePosition(head).seq;
}
