/**
 * Questions of an agent: choices, forms, approvals of tool calls, and what became of them.
 *
 * @module
 */
import { spelled } from '../exact.js';
import { el, icon, setText } from './dom.js';
import { regain } from './focus.js';
import { formFor, jsonForm } from './forms.js';
import { prettyPrinted } from './json.js';

/**
 * @typedef {import('./views.js').View} View
 * @typedef {import('./views.js').Actions} Actions
 * @typedef {import('../client.js').Interrupt} Interrupt
 * @typedef {(payload: unknown, status?: 'resolved' | 'cancelled') => void} Answer
 */

const CLIENT_TOOL = 'agentws:client_tool';
/** The longest delay of a timer, in milliseconds. */
const LONGEST = 2 ** 31 - 1;

/**
 * Controls that answer a question once, and say why an answer was refused.
 *
 * @param {Interrupt} interrupt
 * @param {Actions} actions
 * @param {(answer: Answer, read: (form: {read: () => unknown}) => void) => (Node | false)[]} controls
 */
function answering(interrupt, actions, controls) {
  const problem = el('div', { class: 'problem', role: 'alert', dir: 'auto', hidden: true });
  const say = (/** @type {string} */ text) => {
    problem.hidden = text === '';
    setText(problem, text);
  };
  const fields = el('fieldset', { class: 'answering', 'aria-label': 'Your answer' });
  /** @type {Answer} */
  const answer = (payload, status) => {
    const focused = document.activeElement;
    fields.disabled = true;
    say('');
    actions.answer(interrupt, payload, status).catch((error) => {
      fields.disabled = isOver(error);
      say(sentenceOf(error));
      regain(focused);
    });
  };
  const read = (/** @type {{read: () => unknown}} */ form) => {
    try {
      answer(form.read());
    } catch (error) {
      say(/** @type {Error} */ (error).message);
    }
  };
  fields.append(...controls(answer, read).filter((one) => one instanceof Node));
  const expiry = expiryNote(interrupt, () => (fields.disabled = true));
  return el('div', { class: 'answer' }, fields, problem, expiry);
}

/** @param {any} error of a refused answer: whether every other answer would be refused too */
function isOver({ code }) {
  return code === 'already_answered' || code === 'expired' || code === 'not_found';
}

/** @param {any} error */
export function sentenceOf({ message, expected }) {
  return expected ? `${message} Expected: ${expected}.` : message;
}

/** @param {Interrupt} interrupt @param {() => void} expired */
function expiryNote({ expiresAt }, expired) {
  const due = Date.parse(expiresAt ?? '');
  if (Number.isNaN(due)) return false;
  const note = el('div', { class: 'expiry' });
  const show = () => {
    const left = due - Date.now();
    setText(note, left > 0 ? `Open until ${momentOf(due)}` : 'The time for an answer is over.');
    if (left <= 0) expired();
    // A removed question needs no timer.
    else setTimeout(() => note.isConnected && show(), Math.min(left + 50, LONGEST));
  };
  show();
  return note;
}

/** @param {number} time */
function momentOf(time) {
  const when = new Date(time);
  const today = when.toDateString() === new Date().toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const style = today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' };
  return when.toLocaleString(undefined, style);
}

/** @param {string} label @param {() => void} click @param {string} [kind] */
function button(label, click, kind = '') {
  return el('button', { type: 'button', class: `button ${kind}`, dir: 'auto', click }, label);
}

/**
 * @param {string} label of the button that sends it
 * @param {{element: HTMLElement}} inner
 * @param {() => void} submit
 * @param {...(Node | false)} others beside the button
 */
function formWith(label, inner, submit, ...others) {
  const send = el('button', { type: 'submit', class: 'button primary' }, label);
  const form = el('form', {}, inner.element, el('div', { class: 'actions' }, send, ...others));
  form.addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    submit();
  });
  return form;
}

/** @param {import('./items.js').Item} item @param {Actions} actions @returns {View} */
export function questionView({ interrupt }, actions) {
  const element = el(
    'section',
    { class: 'question', 'aria-label': 'Question' },
    icon('question'),
    el('p', { dir: 'auto' }, interrupt.message ?? 'The agent is waiting for your answer.'),
    answering(interrupt, actions, controlsFor(interrupt)),
  );
  return { element, update: () => {} };
}

/** @param {Interrupt} interrupt @returns {(answer: Answer, read: (form: any) => void) => (Node | false)[]} */
function controlsFor(interrupt) {
  const { reason, responseSchema: schema } = interrupt;
  const choices = choicesOf(interrupt);
  const decline = (/** @type {Answer} */ answer) =>
    button('Decline', () => answer(undefined, 'cancelled'), 'quiet');
  if (reason === CLIENT_TOOL)
    return (answer) => [
      el('div', { class: 'expiry' }, 'Waiting for an app that can do this.'),
      el('div', { class: 'actions' }, decline(answer)),
    ];
  if (choices)
    return (answer) => [
      el(
        'div',
        { class: 'actions' },
        ...choices.map((one) => button(String(one), () => answer(one), 'choice')),
        decline(answer),
      ),
    ];
  // AG-UI says nothing of the answer to a question without a schema: an approval, unless it asks for input.
  if (reason === 'tool_call' || (reason !== 'input_required' && schema === undefined))
    return approvalControls(undefined);
  return (answer, read) => {
    const form = formFor(schema, 'Your answer');
    return [formWith('Answer', form, () => read(form), decline(answer))];
  };
}

/** @param {Interrupt} interrupt @returns {readonly string[] | null} */
function choicesOf({ metadata, responseSchema }) {
  /** @type {any} */
  const told = metadata?.agentws;
  const choices = told?.choices ?? responseSchema?.enum;
  const texts = Array.isArray(choices) && choices.every((one) => typeof one === 'string');
  return texts && choices.length > 0 ? choices : null;
}

/**
 * @param {Interrupt} interrupt that asks to approve a call
 * @param {Actions} actions
 * @param {{name: string, args: string}} call
 * @returns {HTMLElement}
 */
export function approval(interrupt, actions, { name, args }) {
  // The message repeats the call, which its card shows already, after the reason why it is asked again.
  const [reason] = (interrupt.message ?? '').split(`Call ${name} with `);
  return el(
    'div',
    { class: 'card-part approval', role: 'group', 'aria-label': 'Approval' },
    el('p', { dir: 'auto' }, reason.trim() || 'May the agent make this call?'),
    answering(interrupt, actions, approvalControls(args)),
  );
}

/** @param {string | undefined} args that can be edited */
function approvalControls(args) {
  return (/** @type {Answer} */ answer, /** @type {(form: any) => void} */ read) => {
    const choose = el('div', { class: 'actions' });
    const back = () => {
      rest.replaceChildren();
      choose.hidden = false;
      choose.querySelector('button').focus();
    };
    const open = (/** @type {HTMLElement} */ form) => {
      choose.hidden = true;
      rest.replaceChildren(form);
      /** @type {any} */ (form.querySelector('input, textarea')).focus();
    };
    const rest = el('div');
    choose.append(
      button('Approve', () => answer({ approved: true }), 'primary'),
      button('Deny', () => open(denial(answer, back))),
      args === undefined ? '' : button('Edit', () => open(editing(args, read, back))),
    );
    return [choose, rest];
  };
}

/** @param {Answer} answer @param {() => void} back */
function denial(answer, back) {
  const input = el('input', {
    type: 'text',
    dir: 'auto',
    autocomplete: 'off',
    placeholder: 'Reason (optional)',
    'aria-label': 'Reason, optional',
  });
  const submit = () => {
    const reason = input.value.trim();
    answer({ approved: false, ...(reason && { reason }) });
  };
  const element = el('div', { class: 'fields' }, input);
  return formWith('Deny', { element }, submit, button('Back', back));
}

/** @param {string} args @param {(form: any) => void} read @param {() => void} back */
function editing(args, read, back) {
  const form = jsonForm('Arguments', prettyPrinted(args) ?? args);
  const edited = {
    read: () => {
      const editedArgs = form.read();
      if (typeof editedArgs !== 'object' || editedArgs === null || Array.isArray(editedArgs))
        throw new Error('Arguments are a JSON object: {"name": value}.');
      return { approved: true, editedArgs };
    },
  };
  return formWith('Approve with these', form, () => read(edited), button('Back', back));
}

/** @returns {View} a question that was answered while this page was open */
export function answeredView() {
  const asked = el('span', { dir: 'auto' });
  const answer = el('span', { class: 'answered-by', dir: 'auto' });
  const element = el('p', { class: 'answered' }, icon('question'), asked, answer);
  return {
    element,
    update({ question, who }) {
      setText(asked, question.message ?? 'A question');
      setText(answer, outcomeOf(question.answer, who));
    },
  };
}

/**
 * What became of a question, in words.
 *
 * @param {import('../client.js').AnsweredInterrupt['answer']} answer
 * @param {string | null} who is reading
 */
export function outcomeOf({ status, payload, by, expired }, who) {
  if (expired) return 'Nobody answered in time';
  const name = by !== undefined && by === who ? 'You' : by;
  const [alone, verb] = verbFor(status, payload);
  const text = wordsOf(verb, payload);
  const said = name === undefined ? alone : `${name} ${verb}`;
  return text ? `${said}: ${text}` : said;
}

/** @param {string} status @param {any} payload @returns {[string, string]} without and with a name before it */
function verbFor(status, payload) {
  if (status === 'cancelled') return ['Declined', 'declined'];
  if (payload?.approved === true) return ['Approved', 'approved'];
  return payload?.approved === false ? ['Denied', 'denied'] : ['Answered', 'answered'];
}

/** @param {string} verb @param {any} payload @returns {string | undefined} what was said, besides yes and no */
function wordsOf(verb, payload) {
  const said = { answered: payload, denied: payload?.reason }[verb] ?? undefined;
  return typeof said === 'string' ? said : spelled(said);
}
