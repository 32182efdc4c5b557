/**
 * Positions: opaque to everybody else, but order and kinship can be read off them.
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
 * @returns {boolean} whether both stand in one log
 */
export function ofOneLog(left, right) {
  return parsePosition(left).epoch === parsePosition(right).epoch;
}
