/**
 * JSON Patch (RFC 6902) on immutable values: what changes is copied, the rest is shared.
 * Ours, not a library: shared parts keep their identity and the spelling of their numbers, no key reaches a
 * prototype, depth and growth are bounded by the server that sends the patch, and it takes 0.8 kB of the client.
 *
 * @module
 */

/** @typedef {{op: string, path: string, from?: string, value?: unknown}} Operation */

/**
 * `document` with `operations` applied, all or nothing.
 *
 * @param {unknown} document
 * @param {readonly Operation[]} operations
 * @returns {unknown}
 * @throws {RangeError} when an operation does not fit the document
 */
export function applyPatch(document, operations) {
  return operations.reduce(applyOne, document);
}

/** @param {unknown} document @param {Operation} operation @returns {unknown} */
function applyOne(document, operation) {
  const path = parsePointer(operation.path);
  switch (operation.op) {
    case 'add':
      return write(document, path, valueOf(operation), true);
    case 'replace':
      read(document, path);
      return write(document, path, valueOf(operation), false);
    case 'remove':
      return remove(document, path);
    case 'copy':
      return write(document, path, read(document, parsePointer(operation.from)), true);
    case 'move': {
      const from = parsePointer(operation.from);
      return write(remove(document, from), path, read(document, from), true);
    }
    case 'test':
      if (equal(read(document, path), valueOf(operation))) return document;
      throw new RangeError(`test failed at ${operation.path}`);
    default:
      throw new RangeError(`unknown patch operation ${operation.op}`);
  }
}

/** @param {Operation} operation @returns {unknown} */
function valueOf({ op, value }) {
  if (value === undefined) throw new RangeError(`${op} needs a value`);
  return value;
}

/** @param {string | undefined} pointer @returns {string[]} */
function parsePointer(pointer) {
  if (pointer === '') return [];
  if (typeof pointer !== 'string' || pointer[0] !== '/')
    throw new RangeError(`${pointer} is not a JSON pointer`);
  return pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** @param {any} value @param {string[]} path @returns {unknown} */
function read(value, path) {
  for (const key of path) {
    if (!has(value, key)) throw new RangeError(`there is nothing at ${key}`);
    value = value[key];
  }
  return value;
}

/** @param {any} value @param {string} key */
function has(value, key) {
  if (Array.isArray(value)) return isIndex(key) && Number(key) < value.length;
  return isObject(value) && Object.hasOwn(value, key);
}

/**
 * @param {any} target
 * @param {string[]} path
 * @param {unknown} value
 * @param {boolean} insert
 * @returns {unknown}
 */
function write(target, path, value, insert) {
  if (path.length === 0) return value;
  const [key, ...rest] = path;
  const child = rest.length === 0 ? value : write(read(target, [key]), rest, value, insert);
  if (Array.isArray(target)) return writeItem(target, key, child, insert && rest.length === 0);
  if (!isObject(target)) throw new RangeError(`${key} needs an object or an array around it`);
  return { ...target, [key]: child };
}

/** @param {unknown[]} list @param {string} key @param {unknown} value @param {boolean} insert */
function writeItem(list, key, value, insert) {
  const index = key === '-' ? list.length : Number(key);
  if (key !== '-' && !isIndex(key)) throw new RangeError(`${key} is not an array index`);
  if (index > list.length) throw new RangeError(`index ${key} is after the end of the array`);
  return [...list.slice(0, index), value, ...list.slice(insert ? index : index + 1)];
}

/** @param {any} target @param {string[]} path @returns {unknown} */
function remove(target, path) {
  if (path.length === 0) return null;
  const [key, ...rest] = path;
  const child = read(target, [key]);
  if (rest.length > 0) return write(target, [key], remove(child, rest), false);
  if (Array.isArray(target)) return target.filter((_, index) => index !== Number(key));
  const { [key]: _, ...others } = target;
  return others;
}

/** @param {string} key */
function isIndex(key) {
  return /^(0|[1-9]\d*)$/.test(key);
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {any} left @param {any} right @returns {boolean} */
function equal(left, right) {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, index) => equal(item, right[index]));
  }
  if (!isObject(left) || !isObject(right)) return false;
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && equal(left[key], right[key]))
  );
}
