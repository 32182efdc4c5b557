/**
 * Creates elements without parsing HTML, which the page's Content-Security-Policy forbids.
 *
 * @module
 */

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] properties by name; `class`, `role`, `maxlength`, `data-*` and `aria-*` are
 *     attributes, functions are listeners
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  assign(element, properties);
  element.append(...children.filter((child) => child instanceof Node || typeof child === 'string'));
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {Record<string, any>} properties as of `el`
 */
export function assign(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (/^(class|role|for|m(in|ax)length|aria-.*|data-.*)$/.test(name))
      element.setAttribute(name, String(value));
    else Reflect.set(element, name, value);
  }
}

/** SVG paths in a 24 by 24 view box. */
const ICONS = {
  menu: 'M4 7h16M4 12h16M4 17h10',
  close: 'M6 6l12 12M18 6L6 18',
  plus: 'M12 5v14M5 12h14',
  up: 'M12 19V5M6 11l6-6 6 6',
  now: 'M4 12h13M12 6.5l5.5 5.5-5.5 5.5M20.5 6v12',
  down: 'M12 5v14M6 13l6 6 6-6',
  stop: 'M8 8h8v8H8z',
  clip: 'M19 11.5l-7.2 7.2a4.6 4.6 0 0 1-6.5-6.5l7.9-7.9a3.1 3.1 0 0 1 4.4 4.4l-7.9 7.9a1.6 1.6 0 0 1-2.2-2.2l7-7',
  camera: 'M4 8h3.5L9 5.5h6L16.5 8H20v11H4zM12 10a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4z',
  file: 'M7 3.5h7l4 4v13H7zM14 3.5v4h4',
  copy: 'M9 9h10v11H9zM5 15V4h10',
  check: 'M5 13l4.5 4.5L19 7.5',
  tool: 'M14.5 6.5a4 4 0 0 0 5 5L12 19a2.1 2.1 0 0 1-3-3l7.5-7.5M14.5 6.5L17 4M19.5 11.5L22 9',
  thought: 'M12 4a6 6 0 0 0-3.5 10.9V17h7v-2.1A6 6 0 0 0 12 4zM9.5 20h5',
  warning: 'M12 8v5M12 16.5v.1M12 3.5l9.5 16.5h-19z',
  info: 'M12 11v6M12 7.5v.1M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z',
  key: 'M8 10.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM11.2 11.8L20 3M16.5 6.5l3 3M14 9l2 2',
  previous: 'M14.5 6l-6 6 6 6',
  next: 'M9.5 6l6 6-6 6',
  pencil: 'M5 19l1-4L16 5l3 3L9 18zM14 7l3 3',
  trash: 'M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5',
  retry: 'M19 12a7 7 0 1 1-2.1-5M19 3.5V8h-4.5',
  question:
    'M9.3 9.2a2.8 2.8 0 1 1 4 2.6c-.9.5-1.3 1-1.3 2M12 17.2v.1M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z',
};

/** @param {keyof typeof ICONS} name @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** @param {string} id @returns {any} */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A button that copies the result of `text()`.
 * @param {() => string} text
 * @param {string} label
 */
export function copyButton(text, label = 'Copy') {
  const button = el(
    'button',
    { type: 'button', class: 'copy', 'aria-label': label, title: label },
    icon('copy'),
  );
  button.addEventListener('click', async () => {
    await copy(text());
    button.replaceChildren(icon('check'));
    setTimeout(() => button.replaceChildren(icon('copy')), 1500);
  });
  return button;
}

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The Clipboard API exists only on https pages and localhost, and may be forbidden there.
    copySelected(text);
  }
}

/** @param {string} text */
function copySelected(text) {
  const focused = document.activeElement;
  const field = el('textarea', { value: text, class: 'hidden' });
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
}

/**
 * Sets a text only when it differs: a screen reader repeats a live region that is set again.
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
