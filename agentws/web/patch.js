/**
 * JSON Patch (RFC 6902) on immutable values: what changes is copied, the rest is shared.
 * Ours, not a library: shared parts keep their identity and the spelling of their numbers, no key reaches a
 * prototype, depth and growth are bounded by the server that sends the patch, and it takes 0.8 kB of the client.
 *
 * @module
 */

import { respelled } from './exact.js';

/**
 * @typedef {{op: string, path: string, from?: string, value?: unknown}} Operation
 * @typedef {[holder: any, key: string]} Slot where a value is, and with it the spelling of a number
 */

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
      return write(document, path, slotOf(operation), true);
    case 'replace':
      read(document, path);
      return write(document, path, slotOf(operation), false);
    case 'remove':
      return remove(document, path);
    case 'copy':
      return write(document, path, find(document, operation.from), true);
    case 'move':
      return write(
        remove(document, parsePointer(operation.from)),
        path,
        find(document, operation.from),
        true,
      );
    case 'test':
      if (equal(read(document, path), slotOf(operation)[0].value)) return document;
      throw new RangeError(`test failed at ${operation.path}`);
    default:
      throw new RangeError(`unknown patch operation ${operation.op}`);
  }
}

/** @param {Operation} operation @returns {Slot} of its value */
function slotOf(operation) {
  if (operation.value === undefined) throw new RangeError(`${operation.op} needs a value`);
  return [operation, 'value'];
}

/** @param {unknown} document @param {string | undefined} pointer @returns {Slot} */
function find(document, pointer) {
  const path = ['', ...parsePointer(pointer)];
  const key = path.pop() ?? '';
  const holder = read({ '': document }, path);
  read(holder, [key]);
  return [holder, key];
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
 * @param {Slot} slot of the value
 * @param {boolean} insert
 * @returns {unknown}
 */
function write(target, path, slot, insert) {
  const [holder, member] = slot;
  if (path.length === 0) return holder[member];
  const [key, ...rest] = path;
  if (rest.length > 0) {
    const child = write(read(target, [key]), rest, slot, insert);
    return write(target, [key], [{ child }, 'child'], false);
  }
  if (Array.isArray(target)) return writeItem(target, key, slot, insert);
  if (!isObject(target)) throw new RangeError(`${key} needs an object or an array around it`);
  return respelled({ ...target, [key]: holder[member] }, target, key, 0, slot);
}

/** @param {unknown[]} list @param {string} key @param {Slot} slot @param {boolean} insert */
function writeItem(list, key, slot, insert) {
  const index = key === '-' ? list.length : Number(key);
  if (key !== '-' && !isIndex(key)) throw new RangeError(`${key} is not an array index`);
  if (index > list.length) throw new RangeError(`index ${key} is after the end of the array`);
  const [holder, member] = slot;
  const rest = list.slice(insert ? index : index + 1);
  const copy = [...list.slice(0, index), holder[member], ...rest];
  return respelled(copy, list, String(index), insert ? 1 : 0, slot);
}

/** @param {any} target @param {string[]} path @returns {unknown} */
function remove(target, path) {
  if (path.length === 0) return null;
  const [key, ...rest] = path;
  const child = read(target, [key]);
  if (rest.length > 0)
    return write(target, [key], [{ child: remove(child, rest) }, 'child'], false);
  if (Array.isArray(target)) {
    const others = target.filter((_, index) => index !== Number(key));
    return respelled(others, target, key, -1);
  }
  const { [key]: _, ...others } = target;
  return respelled(others, target, key, 0);
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
