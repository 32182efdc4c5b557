/**
 * The view of each kind of item. A view is `{element, update(item)}`: created once for a key, then updated.
 *
 * @module
 */
import { againButton, versions } from './branches.js';
import { activityView, orphanView, toolCard } from './cards.js';
import { copyButton, el, icon, setText } from './dom.js';
import { MarkdownView } from './markdown.js';
import { fileLink, fileView, filesOf, sourcesView, subagentView } from './parts.js';
import { answeredView, questionView } from './questions.js';

/**
 * @typedef {import('./items.js').Item} Item
 * @typedef {{element: HTMLElement, update: (item: Item) => void}} View
 * @typedef {{again: (message: any) => void, discard: (id: string) => void, withdraw: (message: any) => void,
 *   answer: (interrupt: any, payload: unknown, status?: 'resolved' | 'cancelled') => Promise<unknown>,
 *   edit: (message: any, text: string) => Promise<unknown>, regenerate: () => Promise<unknown>,
 *   fileUrl: (id: string) => string, switchTo: (branch: string) => Promise<unknown>}} Actions
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
  stopped: () => fixedView(el('p', { class: 'aside' }, icon('stop'), 'Stopped')),
  question: questionView,
  answered: answeredView,
  sources: sourcesView,
  file: fileView,
  subagent: (_item, actions) => subagentView(actions, views),
  working: workingView,
};

/** @param {HTMLElement} element @returns {View} */
function fixedView(element) {
  return { element, update: () => {} };
}

/** @param {Item} _item @param {Actions} actions @returns {View} */
function userView(_item, actions) {
  const text = el('div', { class: 'bubble', dir: 'auto' });
  const note = el('span', { class: 'note' });
  const button = el('button', { type: 'button', class: 'link' }, 'Take back');
  const files = el('div', { class: 'files' });
  const branching = versions(text, actions);
  const foot = el('div', { class: 'foot' }, note, button, branching.foot);
  const element = el(
    'article',
    { class: 'item user', 'aria-label': 'You' },
    files,
    text,
    branching.place,
    foot,
    branching.problem,
  );
  /** @type {any} */
  let shown;
  button.addEventListener('click', () => actions.withdraw(shown));
  return {
    element,
    update({ message, waiting, queued, unsent, idle }) {
      shown = message;
      const attached = filesOf(message);
      if (files.childElementCount !== attached.length)
        files.replaceChildren(...attached.map((file) => fileLink(file, actions)));
      setText(text, saidIn(message));
      text.classList.toggle('is-empty', text.textContent === '');
      element.dataset.status = message.status;
      element.classList.toggle('is-queued', queued);
      setText(note, unsent ? 'Not sent yet' : 'Queued');
      button.hidden = !waiting;
      note.hidden = !queued && !unsent;
      const branches = branching.update(message, idle && !waiting && !message.unsent);
      foot.hidden = note.hidden && !branches;
    },
  };
}

/** @param {any} message @returns {string} its text, and below it the names of its other parts */
function saidIn({ text, content }) {
  const names = content?.map((/** @type {any} */ { type, metadata }) =>
    type === 'text' ? '' : (metadata?.filename ?? type),
  );
  return [text, ...(names ?? [])].filter(Boolean).join('\n');
}

/** @param {Item} _item @param {Actions} actions @returns {View} */
function assistantView(_item, actions) {
  const markdown = new MarkdownView();
  const tools = el('div', { class: 'tools' });
  let text = '';
  const speaker = el('div', { class: 'speaker', dir: 'auto' });
  const again = againButton(actions);
  const foot = el(
    'div',
    { class: 'foot' },
    copyButton(() => text, 'Copy the answer'),
    again,
  );
  const element = el(
    'article',
    { class: 'item assistant', 'aria-label': 'Assistant' },
    speaker,
    markdown.element,
    tools,
    foot,
  );
  /** @type {Map<string, ReturnType<typeof toolCard>>} */
  const cards = new Map();
  return {
    element,
    update({ message, idle, agent, ...asked }) {
      speaker.hidden = !agent;
      setText(speaker, agent ?? '');
      text = message.text;
      const streaming = message.status === 'streaming';
      markdown.element.hidden = text === '';
      markdown.update(text, !streaming);
      element.classList.toggle('is-streaming', streaming);
      foot.hidden = streaming || text === '';
      again.hidden = !idle;
      for (const call of message.toolCalls ?? []) {
        const card = cards.get(call.id) ?? toolCard(actions);
        if (!cards.has(call.id)) tools.append(card.element);
        cards.set(call.id, card);
        card.update(call, asked);
      }
    },
  };
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

/** @param {Item} item @returns {View} */
function noticeView({ message }) {
  const { level, text } = message;
  const element = el(
    'div',
    { class: 'notice', dir: 'auto', 'data-level': level, role: 'note' },
    icon(level === 'info' ? 'info' : 'warning'),
    el('span', {}, text),
  );
  return fixedView(element);
}

/** @param {Item} item @returns {View} */
function commandView({ notice, typed }) {
  const { commands } = notice.metadata;
  const body = Array.isArray(commands)
    ? commandTable(commands)
    : el('div', { class: 'command-text', dir: 'auto' }, notice.content);
  const name = el('div', { class: 'command-name', dir: 'auto' }, typed);
  return fixedView(el('div', { class: 'command' }, name, body));
}

/** @param {{name: string, summary: string}[]} commands */
function commandTable(commands) {
  const rows = commands
    .map(({ name, summary }) => [
      el('dt', { dir: 'ltr' }, `/${name}`),
      el('dd', { dir: 'auto' }, summary),
    ])
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
    { class: 'error', dir: 'auto', role: 'note' },
    icon('warning'),
    text,
    el('span', { class: 'actions' }, again, discard),
  );
  return {
    element,
    update(next) {
      message = next.message;
      setText(text, message.error.message || 'Something went wrong.');
      // Only a message that is not in the log can be discarded.
      again.hidden = next.past;
      discard.hidden = !message.unsent;
    },
  };
}

/** @returns {View} */
function workingView() {
  const label = el('span');
  const element = el(
    'div',
    { class: 'working', dir: 'auto' },
    el('span', { class: 'pulse', 'aria-hidden': 'true' }),
    label,
  );
  return { element, update: (item) => setText(label, item.label) };
}
