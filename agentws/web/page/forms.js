/**
 * A form for a JSON Schema: fields for a simple value, or for an object with simple properties; a box for JSON
 * otherwise. The server checks the answer; a form only helps to write one that fits.
 *
 * @module
 */
import { exactMember, parseExactly } from '../exact.js';
import { el } from './dom.js';

/**
 * @typedef {{name: string, label: string, kind: 'string' | 'number' | 'integer' | 'boolean' | 'choice',
 *   required: boolean, choices: readonly any[], schema: any}} Field
 * @typedef {{element: HTMLElement, read: () => unknown}} Form `read` throws an Error with a sentence
 */

/** More fields are a document, not a form. */
const MAX_FIELDS = 20;
const KINDS = new Set(['string', 'number', 'integer', 'boolean']);

/**
 * @param {any} schema
 * @returns {Field[] | null} the properties of an object; null if one of them is not simple
 */
export function fieldsOf(schema) {
  const root = resolved(schema, schema);
  if (!isObject(root?.properties) || (root.type ?? 'object') !== 'object') return null;
  const required = new Set(Array.isArray(root.required) ? root.required : []);
  const fields = Object.entries(root.properties).map(([name, property]) =>
    fieldOf(name, resolved(property, schema), required.has(name)),
  );
  const simple = fields.length > 0 && fields.length <= MAX_FIELDS && !fields.includes(null);
  return simple ? /** @type {Field[]} */ (fields) : null;
}

/** @param {string} name @param {any} schema @param {boolean} required @returns {Field | null} */
export function fieldOf(name, schema, required) {
  if (!isObject(schema)) return null;
  const choices = 'const' in schema ? [schema.const] : schema.enum;
  const label = typeof schema.title === 'string' ? schema.title : name;
  const common = { name, label, required, schema };
  if (Array.isArray(choices)) {
    const simple = choices.length > 0 && choices.every((one) => typeof one !== 'object');
    return simple ? { ...common, kind: 'choice', choices } : null;
  }
  if (schema.type === 'boolean' && !required && schema.default === undefined)
    return { ...common, kind: 'choice', choices: [true, false] };
  return KINDS.has(schema.type) ? { ...common, kind: schema.type, choices: [] } : null;
}

/**
 * Follows a reference inside the schema, and takes "this, or null" for "this".
 * @param {any} schema @param {any} root @param {number} [depth] @returns {any}
 */
function resolved(schema, root, depth = 0) {
  if (!isObject(schema) || depth > 10) return schema;
  const name = /^#\/(\$defs|definitions)\/([^/]+)$/.exec(schema.$ref ?? '');
  if (name) {
    const target = root?.[name[1]]?.[decoded(name[2])];
    const { $ref: _, ...own } = schema;
    return isObject(target) ? resolved({ ...target, ...own }, root, depth + 1) : null;
  }
  const some = Array.isArray(schema.anyOf)
    ? schema.anyOf.filter((/** @type {any} */ one) => one?.type !== 'null')
    : [];
  if (some.length !== 1) return schema;
  const { anyOf: _, ...own } = schema;
  return resolved({ ...some[0], ...own }, root, depth + 1);
}

/** @param {string} name as in a JSON pointer */
function decoded(name) {
  return name.replaceAll('~1', '/').replaceAll('~0', '~');
}

/** @param {unknown} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * @param {any} schema of the answer; undefined asks for a text
 * @param {string} label for a screen reader
 * @returns {Form}
 */
export function formFor(schema, label) {
  const fields = fieldsOf(schema);
  if (fields) return objectForm(fields);
  const single = fieldOf(label, resolved(schema ?? { type: 'string' }, schema), true);
  return single ? singleForm(single, label) : jsonForm(label);
}

/** @param {Field[]} fields @returns {Form} */
function objectForm(fields) {
  const controls = fields.map((field) => control(field));
  const element = el('div', { class: 'fields' }, ...controls.map(({ element }) => element));
  const read = () => {
    const pairs = controls.map(({ read }, index) => [fields[index].name, read()]);
    return Object.fromEntries(pairs.filter(([, value]) => value !== undefined));
  };
  return { element, read };
}

/** @param {Field} field @param {string} label @returns {Form} */
function singleForm(field, label) {
  const { input, read } = inputFor(field);
  input.setAttribute('aria-label', label);
  if (field.kind === 'string') input.placeholder = label;
  return { element: el('div', { class: 'fields' }, input), read };
}

/**
 * @param {string} label
 * @param {string} [text] to begin with
 * @returns {Form & {input: HTMLTextAreaElement}}
 */
export function jsonForm(label, text = '') {
  const input = el('textarea', {
    class: 'json',
    dir: 'ltr',
    rows: Math.min(12, Math.max(4, text.split('\n').length)),
    spellcheck: false,
    placeholder: 'JSON',
    'aria-label': `${label}, as JSON`,
    value: text,
  });
  return { element: el('div', { class: 'fields' }, input), input, read: () => parsed(input.value) };
}

/** @param {string} text */
export function parsed(text) {
  if (text.trim() === '') throw new Error('There is nothing here yet. Write JSON.');
  try {
    return parseExactly(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${/** @type {Error} */ (error).message}.`);
  }
}

let count = 0;

/** @param {Field} field @returns {Form} a control with its label and description */
function control(field) {
  const { input, read } = inputFor(field);
  const { description } = field.schema;
  const hint =
    typeof description === 'string' &&
    el('small', { id: `hint-${++count}`, dir: 'auto' }, description);
  if (hint) input.setAttribute('aria-describedby', hint.id);
  const optional = field.required || field.kind === 'boolean' ? '' : ' (optional)';
  const name = el('span', { dir: 'auto' }, field.label + optional);
  const kind = field.kind === 'boolean' ? 'field is-check' : 'field';
  const parts = field.kind === 'boolean' ? [input, name] : [name, input];
  return { element: el('div', { class: kind }, el('label', {}, ...parts), hint), read };
}

/** @param {Field} field @returns {{input: any, read: () => unknown}} */
function inputFor(field) {
  if (field.kind === 'choice') return choice(field);
  const { schema, required } = field;
  if (field.kind === 'boolean') {
    const input = el('input', { type: 'checkbox', checked: schema.default === true });
    return { input, read: () => input.checked };
  }
  const isText = field.kind === 'string';
  const input = el('input', {
    type: isText ? (TEXTS[schema.format] ?? 'text') : 'number',
    dir: isText ? 'auto' : 'ltr',
    required,
    autocomplete: 'off',
    ...limits(field),
  });
  if (['string', 'number'].includes(typeof schema.default))
    input.value = named(exactMember(schema, 'default'));
  const read = () => {
    if (input.value === '') return isText && required ? '' : undefined;
    // Parsed as JSON, a number keeps all its digits; an input accepts more spellings than JSON has.
    return isText ? input.value : numberOf(input.value);
  };
  return { input, read };
}

/** @type {Record<string, string>} the type of an input by the format of a text */
const TEXTS = { date: 'date', email: 'email' };

/** @param {string} text of a number input @returns {unknown} */
export function numberOf(text) {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new Error(`"${text}" is not a number.`);
  if (digitsOf(String(value)) !== digitsOf(text))
    throw new Error('This number has too many digits for a form.');
  return value;
}

/** @param {string} number @returns {string} those that count */
function digitsOf(number) {
  return number.replace(/e.*|\D/gi, '').replace(/^0+|0+$/g, '');
}

/** @param {Field} field */
function limits({ kind, schema }) {
  if (kind === 'string') {
    // As attributes, which may have any value: the properties throw at a length of 2 ** 31.
    return { minlength: schema.minLength, maxlength: schema.maxLength };
  }
  const step = kind === 'integer' ? 1 : 'any';
  const { minimum: min, maximum: max } = schema;
  return {
    step: String(step),
    ...(typeof min === 'number' && { min: String(min) }),
    ...(typeof max === 'number' && { max: String(max) }),
  };
}

/** @param {Field} field */
function choice({ choices, required, schema }) {
  const exact = (/** @type {any} */ index) => exactMember(choices, String(index));
  const options = choices.map((value, index) =>
    el(
      'option',
      { value: index, dir: 'auto', selected: value === schema.default },
      named(exact(index)),
    ),
  );
  const none = el('option', { value: '' }, required ? 'Choose' : 'None');
  const input = el('select', { required }, none, ...options);
  const read = () => (input.value === '' ? undefined : exact(input.value));
  return { input, read };
}

/** @param {any} value */
function named(value) {
  if (value === true) return 'Yes';
  return value === false ? 'No' : String(value?.rawJSON ?? value);
}
