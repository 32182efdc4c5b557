/** The parts of the page that need no browser. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { idleSnapshot } from '../../agentws/web/client.js';
import { itemsOf } from '../../agentws/web/page/items.js';

globalThis.location ??= /** @type {any} */ ({ pathname: '/' });
const { titleOf } = await import('../../agentws/web/page/chats.js');

const message = (id, fields) => ({ id, role: 'user', text: id, status: 'done', ...fields });
const notice = (key, after) => ({ key, content: key, level: 'info', after });
const keys = (fields) =>
  itemsOf({ ...idleSnapshot, connection: 'open', ...fields }, new Map()).map(({ key }) => key);

test('a notice is shown behind the message after which it arrived', () => {
  const messages = [message('u1'), message('u2')];
  const notices = [notice('n0', null), notice('n1', 'u1'), notice('n2', 'u2')];
  assert.deepEqual(keys({ messages, notices }), ['n0', 'u1', 'n1', 'u2', 'n2']);
});

test('a notice whose message is gone comes first', () => {
  const notices = [notice('n0', 'gone'), notice('n1', 'u1')];
  assert.deepEqual(keys({ messages: [message('u1')], notices }), ['n0', 'u1', 'n1']);
  assert.deepEqual(keys({ notices }), ['n0', 'n1']);
});

test('a title is cut between characters', () => {
  assert.equal(titleOf('  Trip \nto Oslo'), 'Trip ');
  assert.equal(titleOf('\u{1f600}'.repeat(60)), '\u{1f600}'.repeat(60));
  assert.equal(titleOf('\u{1f600}'.repeat(61)), `${'\u{1f600}'.repeat(59)}\u2026`);
});
