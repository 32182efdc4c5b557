/**
 * How each kind of item looks. A view is `{element, update(item)}`; it is made once for a key and
 * updated from then on.
 *
 * @module
 */
import { copyButton, el, icon, setText } from './dom.js';
import { MarkdownView } from './markdown.js';

/**
 * @typedef {import('./items.js').Item} Item
 * @typedef {{element: HTMLElement, update: (item: Item) => void}} View
 * @typedef {{again: (message: any) => void, discard: (id: string) => void, takeBack: (message: any) => void,
 *   answer: (interrupt: any, payload: unknown, status?: 'resolved' | 'cancelled') => void}} Actions
 */

/** @type {Record<string, (item: Item, actions: Actions) => View>} */
export const views = {
  user: userView,
  assistant: assistantView,
  reasoning: reasoningView,
  activity: activityView,
  notice: noticeView,
  command: commandView,
  orphan: orphanView,
  error: errorView,
  stopped: () => still(el('p', { class: 'aside' }, icon('stop'), 'Stopped')),
  question: questionView,
  working: workingView,
};

/** @param {HTMLElement} element @returns {View} */
function still(element) {
  return { element, update: () => {} };
}

/** @param {Item} _item @param {Actions} actions @returns {View} */
function userView(_item, actions) {
  const text = el('div', { class: 'bubble' });
  const note = el('span', { class: 'note' });
  const button = el('button', { type: 'button', class: 'link' }, 'Take back');
  const foot = el('div', { class: 'foot' }, note, button);
  const element = el('article', { class: 'item user', 'aria-label': 'You' }, text, foot);
  /** @type {any} */
  let shown;
  button.addEventListener('click', () => actions.takeBack(shown));
  return {
    element,
    update({ message, waiting, queued, unsent }) {
      shown = message;
      setText(text, message.text || attachmentNames(message.content));
      element.dataset.status = message.status;
      element.classList.toggle('is-queued', queued);
      setText(note, unsent ? 'Not sent yet' : 'Queued');
      button.hidden = !waiting;
      foot.hidden = !queued && !unsent;
    },
  };
}

/** @param {any} content */
function attachmentNames(content) {
  if (!Array.isArray(content)) return '';
  return content.map((part) => part.metadata?.filename ?? part.type).join(', ');
}

/** @returns {View} */
function assistantView() {
  const markdown = new MarkdownView();
  const tools = el('div', { class: 'tools' });
  let text = '';
  const foot = el(
    'div',
    { class: 'foot' },
    copyButton(() => text, 'Copy the answer'),
  );
  const element = el(
    'article',
    { class: 'item assistant', 'aria-label': 'Assistant' },
    markdown.element,
    tools,
    foot,
  );
  /** @type {Map<string, View>} */
  const cards = new Map();
  return {
    element,
    update({ message }) {
      text = message.text;
      const streaming = message.status === 'streaming';
      markdown.element.hidden = text === '';
      markdown.update(text, !streaming);
      element.classList.toggle('is-streaming', streaming);
      foot.hidden = streaming || text === '';
      for (const call of message.toolCalls ?? []) {
        const card = cards.get(call.id) ?? toolCard();
        if (!cards.has(call.id)) tools.append(card.element);
        cards.set(call.id, card);
        card.update(call);
      }
    },
  };
}

const CALL_STATES = {
  streaming: 'Preparing',
  called: 'Running',
  done: 'Done',
  cancelled: 'Stopped',
  error: 'Failed',
};

/** @returns {View} */
function toolCard() {
  const name = el('span', { class: 'card-title' });
  const state = el('span', { class: 'card-state' });
  const args = el('pre', { tabIndex: 0 });
  const result = el('pre', { tabIndex: 0 });
  const resultPart = el('div', { class: 'card-part' }, el('h3', {}, 'Result'), result);
  const argsPart = el('div', { class: 'card-part' }, el('h3', {}, 'Arguments'), args);
  const element = el(
    'details',
    { class: 'card tool' },
    el('summary', {}, icon('tool'), name, state),
    argsPart,
    resultPart,
  );
  return {
    element,
    update(call) {
      setText(name, call.name);
      setText(state, CALL_STATES[/** @type {keyof typeof CALL_STATES} */ (call.status)]);
      setText(args, pretty(call.args));
      setText(result, pretty(call.error ?? readable(call.result)));
      argsPart.hidden = call.args === '' || call.args === '{}';
      resultPart.hidden = result.textContent === '';
      element.dataset.status = call.status;
    },
  };
}

/** @param {any} content */
function readable(content) {
  if (content === undefined || typeof content === 'string') return content ?? '';
  return content.map((/** @type {any} */ part) => part.text ?? `[${part.type}]`).join('\n');
}

/**
 * JSON spread over lines; anything else, and JSON that is still being written, as it is.
 * @param {string} text
 */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** @returns {View} */
function reasoningView() {
  const markdown = new MarkdownView();
  const label = el('span', { class: 'card-title' });
  const element = el(
    'details',
    { class: 'thought' },
    el('summary', {}, icon('thought'), label),
    markdown.element,
  );
  return {
    element,
    update({ message }) {
      const streaming = message.status === 'streaming';
      setText(label, streaming ? 'Thinking' : 'Thought');
      element.classList.toggle('is-streaming', streaming);
      markdown.update(message.text, !streaming);
    },
  };
}

/** @returns {View} */
function activityView() {
  const title = el('span', { class: 'card-title' });
  const content = el('pre', { tabIndex: 0 });
  const element = el(
    'details',
    { class: 'card' },
    el('summary', {}, icon('info'), title),
    el('div', { class: 'card-part' }, content),
  );
  return {
    element,
    update({ message }) {
      setText(title, message.content?.title ?? message.activityType ?? 'Activity');
      setText(content, JSON.stringify(message.content, null, 2));
    },
  };
}

/** @returns {View} */
function orphanView() {
  const content = el('pre', { tabIndex: 0 });
  const element = el(
    'details',
    { class: 'card' },
    el('summary', {}, icon('tool'), el('span', { class: 'card-title' }, 'Result')),
    el('div', { class: 'card-part' }, content),
  );
  return { element, update: ({ message }) => setText(content, pretty(message.text)) };
}

/** @param {Item} item @returns {View} */
function noticeView({ message }) {
  const { level, text } = message;
  const element = el(
    'div',
    { class: 'notice', 'data-level': level, role: 'note' },
    icon(level === 'info' ? 'info' : 'warning'),
    el('span', {}, text),
  );
  return still(element);
}

/** @param {Item} item @returns {View} */
function commandView({ notice, typed }) {
  const { commands } = notice.metadata;
  const body = Array.isArray(commands)
    ? commandTable(commands)
    : el('div', { class: 'command-text' }, notice.content);
  return still(el('div', { class: 'command' }, el('div', { class: 'command-name' }, typed), body));
}

/** @param {{name: string, summary: string}[]} commands */
function commandTable(commands) {
  const rows = commands
    .map(({ name, summary }) => [el('dt', {}, `/${name}`), el('dd', {}, summary)])
    .flat();
  return el('dl', { class: 'command-list' }, ...rows);
}

/** @param {Item} item @param {Actions} actions @returns {View} */
function errorView(item, actions) {
  let { message } = item;
  const text = el('span', { class: 'error-text' });
  const again = el(
    'button',
    { type: 'button', class: 'button', click: () => actions.again(message) },
    icon('retry'),
    'Try again',
  );
  const discard = el(
    'button',
    { type: 'button', class: 'button quiet', click: () => actions.discard(message.id) },
    'Discard',
  );
  const element = el(
    'div',
    { class: 'error', role: 'note' },
    icon('warning'),
    text,
    el('span', { class: 'actions' }, again, discard),
  );
  return {
    element,
    update(next) {
      message = next.message;
      setText(text, message.error.message || 'Something went wrong.');
      // Only what never reached the log can be thrown away.
      again.hidden = next.past;
      discard.hidden = !message.unsent;
    },
  };
}

/** @param {Item} item @param {Actions} actions @returns {View} */
function questionView({ interrupt }, actions) {
  const wantsText = interrupt.reason === 'input_required';
  const input = el('input', {
    type: 'text',
    'aria-label': 'Your answer',
    placeholder: 'Your answer',
  });
  const yes = el(
    'button',
    { type: 'submit', class: 'button primary' },
    wantsText ? 'Answer' : 'Approve',
  );
  const no = el('button', { type: 'button', class: 'button' }, wantsText ? 'Cancel' : 'Deny');
  const form = el(
    'form',
    { class: 'question' },
    icon('question'),
    el('p', {}, interrupt.message ?? 'The agent waits for your answer.'),
    el('div', { class: 'actions' }, wantsText && input, yes, no),
  );
  form.addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    actions.answer(interrupt, wantsText ? input.value : { approved: true });
  });
  no.addEventListener('click', () => {
    if (wantsText) actions.answer(interrupt, undefined, 'cancelled');
    else actions.answer(interrupt, { approved: false });
  });
  return still(form);
}

/** @returns {View} */
function workingView() {
  const label = el('span');
  const element = el(
    'div',
    { class: 'working' },
    el('span', { class: 'pulse', 'aria-hidden': 'true' }),
    label,
  );
  return { element, update: (item) => setText(label, item.label) };
}
