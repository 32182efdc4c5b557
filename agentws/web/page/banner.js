/**
 * The banner above the message box: why the connection was refused, and what the person can do about it.
 *
 * @module
 */
import { accessKey } from './credentials.js';
import { byId, el, icon } from './dom.js';

/** @type {Record<string, string>} */
const SENTENCES = {
  forbidden: 'This chat can\u2019t be opened here: it was deleted, or it belongs to someone else.',
  deleted: 'This chat was deleted.',
  not_found: 'There is no such chat.',
  bad_request: 'This chat can\u2019t be opened: its address is not valid.',
  misdirected: 'This server does not serve this address.',
};

/**
 * @param {HTMLElement} banner
 * @param {import('../client.js').ChatSnapshot} snapshot
 * @param {boolean} deleted whether it is known that the chat was deleted
 * @param {{retry: () => void, fresh: () => void, signIn: (key: string) => void}} actions
 */
export function drawBanner(banner, { connection, error }, deleted, actions) {
  const refusal = deleted && error ? { ...error, code: 'deleted' } : error;
  const shown = connection === 'closed' ? refusal : null;
  const text = shown ? sentence(shown) : '';
  if (banner.dataset.text === text) return;
  banner.dataset.text = text;
  // Its buttons vanish with it.
  if (banner.contains(document.activeElement)) byId('composer-input').focus();
  banner.hidden = shown === null;
  if (shown?.code === 'unauthenticated') banner.replaceChildren(...signIn(text, actions));
  else banner.replaceChildren(...refused(text, deleted, actions));
}

/** @param {NonNullable<import('../client.js').ChatSnapshot['error']>} error */
function sentence({ code, message }) {
  if (code !== 'unauthenticated') return SENTENCES[code ?? ''] ?? message;
  return accessKey()
    ? 'The server refused this access key.'
    : 'This server asks for an access key.';
}

/**
 * @param {string} text
 * @param {boolean} forever
 * @param {{retry: () => void, fresh: () => void}} actions
 */
function refused(text, forever, { retry, fresh }) {
  return [
    icon('warning'),
    el('span', { class: 'banner-text' }, text),
    el(
      'span',
      { class: 'actions' },
      !forever && el('button', { type: 'button', class: 'button', click: retry }, 'Try again'),
      el(
        'button',
        { type: 'button', class: forever ? 'button' : 'button quiet', click: fresh },
        'New chat',
      ),
    ),
  ];
}

/**
 * @param {string} text
 * @param {{signIn: (key: string) => void}} actions
 */
function signIn(text, { signIn: submit }) {
  const input = el('input', {
    type: 'password',
    autocomplete: 'current-password',
    required: true,
    placeholder: 'Access key',
    'aria-label': 'Access key',
  });
  const form = el(
    'form',
    { class: 'actions' },
    input,
    el('button', { type: 'submit', class: 'button primary' }, 'Sign in'),
  );
  form.addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    submit(input.value);
    input.value = '';
  });
  queueMicrotask(() => input.focus());
  return [icon('key'), el('span', { class: 'banner-text' }, text), form];
}
