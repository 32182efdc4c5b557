/** The parts of the page that need no browser. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { idleSnapshot } from '../../agentws/web/client.js';
import { itemsOf } from '../../agentws/web/page/items.js';

globalThis.location ??= /** @type {any} */ ({ pathname: '/' });
const { mentionable } = await import('../../agentws/web/page/agents.js');
const { grouped } = await import('../../agentws/web/page/groups.js');
const { accepted } = await import('../../agentws/web/page/attaching.js');
const { sizeText } = await import('../../agentws/web/page/parts.js');
const { waitingIn } = await import('../../agentws/web/page/queue.js');
const { textIn } = await import('../../agentws/web/page/composer.js');
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

test('a message keeps the indentation of its first line', () => {
  for (const [value, text] of [
    ['\n \n    if x:\n        y\n\n', '    if x:\n        y'],
    ['  word ', '  word'],
    [' /help ', '/help'],
    ['\n @guide Hello\n', '@guide Hello'],
    [' \n\t', ''],
  ])
    assert.equal(textIn(value), text);
});

test('a title is cut between characters', () => {
  assert.equal(titleOf('  Trip \nto Oslo'), 'Trip ');
  assert.equal(titleOf('\u{1f600}'.repeat(60)), '\u{1f600}'.repeat(60));
  assert.equal(titleOf('\u{1f600}'.repeat(61)), `${'\u{1f600}'.repeat(59)}\u2026`);
});

test('a message that waits during a run is in the list, and not in the conversation', () => {
  const waits = message('u1', { status: 'queued' });
  const unsent = message('u2', { status: 'sending', unsent: true });
  const fields = {
    run: 'r',
    runs: { r: { id: 'r', status: 'running' } },
    messages: [waits, unsent],
  };
  const listed = (snapshot) => waitingIn(snapshot).map(({ message: { id } }) => id);
  assert.deepEqual(keys(fields), ['working']);
  assert.deepEqual(listed({ ...idleSnapshot, ...fields, connection: 'open' }), ['u1', 'u2']);
  assert.deepEqual(keys({ ...fields, connection: 'offline' }), ['working', 'u2']);
  assert.deepEqual(listed({ ...idleSnapshot, ...fields, connection: 'offline' }), ['u1']);
  assert.deepEqual(keys({ messages: [waits] }), ['u1']);
  assert.deepEqual(listed({ ...idleSnapshot, messages: [waits] }), []);
});

test('only a message that is not about to be read can be changed', () => {
  const messages = [
    message('u1', { status: 'queued', overlap: 'steer' }),
    message('u2', { status: 'queued' }),
    message('u3', { status: 'queued', content: [{ type: 'text', text: 'u3' }] }),
  ];
  const waiting = waitingIn({ ...idleSnapshot, run: 'r', messages });
  assert.deepEqual(
    waiting.map(({ editable, promotable }) => [editable, promotable]),
    [
      [false, false],
      [true, false],
      [false, true],
    ],
  );
});

test('the size of a file is short', () => {
  const sizes = [0, 999, 1000, 1550, 48_213, 999_999, 10_485_760, 2.5e12, 1e16];
  assert.deepEqual(sizes.map(sizeText), [
    '0 B',
    '999 B',
    '1.0 kB',
    '1.6 kB',
    '48 kB',
    '999 kB',
    '10 MB',
    '2.5 TB',
    '10000 TB',
  ]);
});

test('a file input offers the types that the server takes', () => {
  assert.equal(accepted(['image/*', 'text/plain']), 'image/*,text/plain');
  assert.equal(accepted(['*/*', 'text/plain']), '');
});

test('a mention is offered at the beginning of a text only', () => {
  const agents = ['billing', 'Bills and more', 'support'];
  assert.deepEqual(mentionable('@', agents), agents);
  assert.deepEqual(mentionable('@BILL', agents), ['billing', 'Bills and more']);
  assert.deepEqual(mentionable('@bills and', agents), ['Bills and more']);
  for (const text of ['', 'bill', 'hello @bill', '@@bill', '@billing where', '@bill\n'])
    assert.deepEqual(mentionable(text, agents), []);
  assert.deepEqual(mentionable('@', ['billing']), []);
});

test('an agent is named where it changes, and not again after a call of a tool', () => {
  const message = (kind, name) => ({ key: '', kind, message: { name } });
  const items = [
    message('user'),
    message('assistant', 'demo'),
    message('assistant'),
    message('assistant', 'demo'),
    message('assistant', 'poet'),
    message('user'),
    message('assistant', 'poet'),
  ];
  const snapshot = { ...idleSnapshot, agents: ['demo', 'poet'] };
  const named = grouped(items, snapshot).map(({ agent }) => agent ?? '');
  assert.deepEqual(named, ['', 'demo', '', '', 'poet', '', 'poet']);
});

test('the sources of an answer are listed before the answer to a later command', () => {
  const source = { id: 's1', activityType: 'agentws.source' };
  const items = [
    { key: 's1', kind: 'activity', message: source },
    { key: 'a1', kind: 'assistant', message: {} },
    { key: 'n1', kind: 'command' },
  ];
  const shown = grouped(items, idleSnapshot);
  assert.deepEqual(
    shown.map(({ kind }) => kind),
    ['assistant', 'sources', 'command'],
  );
});
