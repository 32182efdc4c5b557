/**
 * What an answer has besides its text: sources, files, and the work of other agents.
 *
 * @module
 */
import { accessKey, credentials } from './credentials.js';
import { el, icon, setText } from './dom.js';
import { same } from './items.js';

/**
 * @typedef {import('./views.js').View} View
 * @typedef {import('./views.js').Actions} Actions
 * @typedef {import('../client.js').AttachedFile} AttachedFile
 */

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];
const SUBAGENT = { running: 'Working', finished: 'Done', suspended: 'Waiting', failed: 'Failed' };
/** Images that every browser shows, and that the server serves as images. */
const THUMBNAILS = /^image\/(png|jpeg|gif|webp|avif)$/;

/** @param {unknown} address @returns {URL | null} an http or https address */
export function webAddress(address) {
  try {
    const url = new URL(String(address));
    return url.protocol === 'http:' || url.protocol === 'https:' ? url : null;
  } catch {
    return null;
  }
}

/** @returns {View} the sources of an answer, as a numbered list */
export function sourcesView() {
  const list = el('ol', {});
  /** @type {any[]} */
  let shown = [];
  const element = el('section', { class: 'sources', 'aria-label': 'Sources' }, list);
  return {
    element,
    update({ sources }) {
      if (shown.length === sources.length && same(shown, sources)) return;
      shown = sources;
      list.replaceChildren(...sources.map(source));
    },
  };
}

/** @param {any} message */
function source({ content }) {
  const { number, url, title, excerpt } = content ?? {};
  const address = webAddress(url);
  const name = String(title || url || 'Source');
  const link = address
    ? el('a', { href: address.href, target: '_blank', rel: 'noopener noreferrer' }, name)
    : el('span', {}, name);
  return el(
    'li',
    { dir: 'auto', ...(Number.isInteger(number) && { value: number }) },
    link,
    address && el('span', { class: 'host', dir: 'ltr' }, address.host),
    typeof excerpt === 'string' && el('p', {}, excerpt),
  );
}

/** @param {any} size in bytes @returns {string} */
export function sizeText(size) {
  if (typeof size !== 'number' || !(size >= 0)) return '';
  const power = Math.min(UNITS.length - 1, size < 1000 ? 0 : Math.floor(Math.log10(size) / 3));
  const value = size / 1000 ** power;
  return `${power > 0 && value < 10 ? value.toFixed(1) : Math.floor(value)} ${UNITS[power]}`;
}

/** @param {AttachedFile} file @param {Actions} actions @returns {HTMLElement} a link, with a thumbnail of an image */
export function fileLink(file, actions) {
  const { id, type, size } = file;
  const name = String(file.name || 'File');
  const url = actions.fileUrl(String(id));
  const label = el('span', { class: 'file-name', dir: 'auto' }, name);
  const link = el(
    'a',
    { class: 'file', href: url, download: name, title: name },
    label,
    el('span', { class: 'file-size' }, sizeText(size)),
  );
  const image = THUMBNAILS.test(type) && el('img', { alt: '', loading: 'lazy' });
  if (image) link.prepend(image);
  const open = accessKey() ? withKey(url) : null;
  if (!open) {
    if (image) image.src = url;
    return link;
  }
  // A link and an image can't carry the key.
  if (image) void open.then((address) => (image.src = address)).catch(() => image.remove());
  void open.then((address) => (link.href = address)).catch(() => {});
  return link;
}

/** @param {string} url @returns {Promise<string>} the address of a copy in this page */
async function withKey(url) {
  const response = await fetch(url, { headers: credentials() });
  if (!response.ok) throw new Error(`file: ${response.status}`);
  return URL.createObjectURL(await response.blob());
}

/** @param {any} message @returns {AttachedFile[]} */
export function filesOf({ metadata }) {
  const files = metadata?.attachments;
  return Array.isArray(files) ? files.filter((file) => typeof file?.id === 'string') : [];
}

/** @param {import('./items.js').Item} item @param {Actions} actions @returns {View} a file that the agent made */
export function fileView({ message }, actions) {
  const element = el('div', { class: 'files' }, fileLink(message.content ?? {}, actions));
  return { element, update: () => {} };
}

/**
 * The messages of an agent that another one asked for help, folded under its name.
 *
 * @param {Actions} actions
 * @param {Record<string, (item: any, actions: Actions) => View>} views
 * @returns {View}
 */
export function subagentView(actions, views) {
  const name = el('span', { class: 'card-title', dir: 'auto' });
  const state = el('span', { class: 'card-state' });
  const task = el('p', { class: 'task', dir: 'auto' });
  const body = el('div', { class: 'card-part' }, task);
  const element = el(
    'details',
    { class: 'card subagent' },
    el('summary', {}, icon('thought'), name, state),
    body,
  );
  /** @type {Map<string, {view: View, item: any}>} */
  const shown = new Map();
  return {
    element,
    update({ subagent, items, waits }) {
      setText(name, subagent.name ?? 'Another agent');
      setText(state, SUBAGENT[/** @type {keyof typeof SUBAGENT} */ (subagent.status)] ?? '');
      element.dataset.status = subagent.status === 'running' ? 'called' : '';
      task.hidden = !subagent.description;
      setText(task, subagent.description ?? '');
      for (const item of items) {
        const known = shown.get(item.key);
        const view = known?.view ?? views[item.kind](item, actions);
        if (!known) body.append(view.element);
        if (!known || !same(known.item, item)) view.update(item);
        shown.set(item.key, { view, item });
      }
      // An approval in it must be seen.
      if (waits) element.open = true;
    },
  };
}
