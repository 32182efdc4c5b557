/**
 * Renders a tree of `blocks.js` as elements, and updates them to a newer tree: equal parts keep their elements
 * and a text that has grown is appended to, so that nothing flickers and a selection stays.
 *
 * @module
 */
import { assign, copyButton, el } from './dom.js';

/**
 * @typedef {import('./blocks.js').Block} Block
 * @typedef {import('./blocks.js').Child} Child
 */

/**
 * `dir="auto"` is removed from an element while its children change: browsers search the whole element for its
 * direction after every change.
 */
const AUTO = 'auto';
const SCHEMES = new Set(['http:', 'https:', 'mailto:']);

/**
 * @param {Element} parent
 * @param {readonly Child[]} olds the trees of its last children, from `first` on
 * @param {readonly Child[]} news the trees that replace them
 * @param {ChildNode | null} [first]
 */
export function patchChildren(parent, olds, news, first = parent.firstChild) {
  let node = first;
  for (const [index, child] of news.entries()) {
    const known = index < olds.length ? node : null;
    // Before `patch`, which may replace the node.
    if (known) node = known.nextSibling;
    if (known) patch(known, olds[index], child);
    else parent.insertBefore(create(child), node);
  }
  while (node) {
    const last = node;
    node = node.nextSibling;
    last.remove();
  }
}

/** @param {ChildNode} known @param {Child} old @param {Child} child */
function patch(known, old, child) {
  if (old === child) return;
  if (typeof old === 'string' || typeof child === 'string') {
    if (typeof old === 'string' && typeof child === 'string' && known instanceof Text)
      patchText(known, child);
    else known.replaceWith(create(child));
  } else if (known instanceof HTMLElement && isAlike(old, child)) {
    if (child.props.dir === AUTO) known.removeAttribute('dir');
    patchChildren(content(known, child), old.children, child.children);
    setProps(known, changed(old.props, child.props));
    if (child.props.dir === AUTO) known.dir = AUTO;
  } else known.replaceWith(create(child));
}

/** @param {Text} node @param {string} text */
function patchText(node, text) {
  const { data } = node;
  let same = 0;
  while (same < data.length && data[same] === text[same]) same++;
  if (same === data.length) node.appendData(text.slice(same));
  else node.replaceData(same, data.length - same, text.slice(same));
}

/** @param {Block} old @param {Block} block */
function isAlike(old, block) {
  const names = Object.keys(block.props);
  return (
    old.tag === block.tag &&
    names.length === Object.keys(old.props).length &&
    names.every((name) => name in old.props)
  );
}

/** @param {Record<string, any>} old @param {Record<string, any>} props */
function changed(old, props) {
  return Object.fromEntries(Object.entries(props).filter(([name, value]) => old[name] !== value));
}

/** @param {Child} child @returns {Node} */
function create(child) {
  if (typeof child === 'string') return document.createTextNode(child);
  const element = child.tag === 'code-block' ? codeBlock() : el(child.tag);
  const place = content(element, child);
  for (const one of child.children) place.append(create(one));
  setProps(element, child.props);
  return element;
}

/** @param {HTMLElement} element @param {Block} block @returns {Element} the element that holds its children */
function content(element, { tag }) {
  return tag === 'code-block' ? /** @type {Element} */ (element.querySelector('code')) : element;
}

/** @param {HTMLElement} element @param {Record<string, any>} props */
function setProps(element, { address, info, ...others }) {
  assign(element, others);
  if (address !== undefined) setAddress(/** @type {HTMLAnchorElement} */ (element), address);
  if (info !== undefined) setInfo(element, info);
}

function codeBlock() {
  const code = el('code');
  // A line end at the end would run the command when it is pasted into a shell.
  const copied = () => (code.textContent ?? '').replace(/\n$/, '');
  return el(
    'div',
    { class: 'code', dir: 'ltr' },
    el(
      'div',
      { class: 'code-head' },
      el('span', { class: 'code-language' }),
      copyButton(copied, 'Copy the code'),
    ),
    el('pre', { tabIndex: 0 }, code),
  );
}

/** @param {Element} block @param {string} info what stands beside the fence: its first word is the language */
function setInfo(block, info) {
  const code = /** @type {HTMLElement} */ (block.querySelector('code'));
  [code.dataset.language] = info.split(/\s/);
  const label = block.querySelector('.code-language');
  if (label) label.textContent = info;
}

/** Only an address with a safe scheme becomes a link. @param {HTMLAnchorElement} link @param {string} address */
function setAddress(link, address) {
  const url = parse(address);
  if (!url || !SCHEMES.has(url.protocol)) {
    link.removeAttribute('href');
    // The address can still be read.
    link.title = address;
    return;
  }
  assign(link, { href: url.href, target: '_blank', rel: 'noopener noreferrer' });
}

/** @param {string} address */
function parse(address) {
  try {
    return new URL(address, location.href);
  } catch {
    return null;
  }
}
