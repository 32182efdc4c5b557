/** JSON that people look at: laid out, and spelled as it was. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { decode } from '../../agentws/web/encoding.js';
import { parseExactly, spelled } from '../../agentws/web/exact.js';
import { laidOut } from '../../agentws/web/page/json.js';

test('every number keeps its spelling', () => {
  for (const number of [
    '9007199254740993',
    '10.00',
    '1e400',
    '-0',
    '1E+2',
    '0.1000',
    '123456789012345678901234567890',
  ])
    assert.equal(laidOut(`{"n":${number}}`), `{\n  "n": ${number}\n}`);
});

test('doubled keys and escapes stay', () => {
  assert.equal(laidOut('{"a":1,"a":2}'), '{\n  "a": 1,\n  "a": 2\n}');
  assert.equal(
    laidOut('["\\u00e9\\/", "\\"]", "\\\\"]'),
    '[\n  "\\u00e9\\/",\n  "\\"]",\n  "\\\\"\n]',
  );
});

test('spaces between are laid out anew, those in a text are not', () => {
  assert.equal(laidOut(' [ 1 ,\r\n\t{ } , [ ] ] '), '[\n  1,\n  {},\n  []\n]');
  assert.equal(laidOut('{"a  b: ,":"c\u00a0 d"}'), '{\n  "a  b: ,": "c\u00a0 d"\n}');
});

test('what is no JSON, not whole, or one value, is not laid out', () => {
  for (const text of [
    '',
    '{"a":',
    '[1,2',
    '{"a":1}}',
    "{'a':1}",
    '[01]',
    '[NaN]',
    'plain',
    '10.00',
    '"text"',
    'null',
    '\ufeff[]',
  ])
    assert.equal(laidOut(text), null, text);
});

test('what is deeper or longer than anybody reads is not laid out', () => {
  assert.equal(laidOut(`["${'x'.repeat(1_000_000)}"]`), null);
  assert.equal(laidOut('['.repeat(10_000) + ']'.repeat(10_000)), null);
  assert.ok(laidOut('['.repeat(100) + ']'.repeat(100)));
  assert.equal(laidOut('['.repeat(101) + ']'.repeat(101)), null);
  assert.equal(
    laidOut(`${'['.repeat(90)}${'1,'.repeat(10_000)}1${']'.repeat(90)}`),
    null,
    'short, and of two million characters when it is laid out',
  );
});

test('a value looks as JSON.stringify would lay it out', () => {
  let seed = 3;
  const random = (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const list = (make) => Array.from({ length: random(4) }, make);
  const leaves = [1, 'a"\\[{', null, true, -1500.5, '', ' ,: ', '\n\ud800'];
  const value = (depth) => {
    const kind = depth > 4 ? 0 : random(3);
    if (kind === 0) return leaves[random(leaves.length)];
    if (kind === 1) return list(() => value(depth + 1));
    return Object.fromEntries(list((_, index) => [`k"{${index}`, value(depth + 1)]));
  };
  for (let round = 0; round < 2000; round++) {
    const one = [value(0)];
    assert.equal(laidOut(JSON.stringify(one, null, round % 3)), JSON.stringify(one, null, 2));
  }
});

test('data that is shown keeps the spelling of its numbers', () => {
  const value = parseExactly('{"a":9007199254740993,"b":[10.00,1e400,5],"c":{"d":-0}}');
  assert.deepEqual(value.b[2], 5);
  assert.equal(value.b[0], 10, 'and is made of numbers');
  assert.equal(spelled(value), '{"a":9007199254740993,"b":[10.00,1e400,5],"c":{"d":-0}}');
  assert.equal(spelled({ a: 1 }), '{"a":1}');
});

test('an activity keeps the spelling of its numbers on its way here', () => {
  for (const type of [
    '"type":"ACTIVITY_SNAPSHOT"',
    '"type": "MESSAGES_SNAPSHOT", "role": "activity"',
  ]) {
    const [frame] = decode(`{"event":{${type},"content":{"id":9007199254740993}}}`);
    assert.equal(spelled(frame.event.content), '{"id":9007199254740993}');
  }
});
