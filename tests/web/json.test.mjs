/** JSON that is shown: pretty-printed, with the spelling of its numbers. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyLog, reduce } from '../../agentws/web/client.js';
import { decode, encode } from '../../agentws/web/encoding.js';
import { exactMember, parseExactly, spelled } from '../../agentws/web/exact.js';
import { prettyPrinted } from '../../agentws/web/page/json.js';

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
    assert.equal(prettyPrinted(`{"n":${number}}`), `{\n  "n": ${number}\n}`);
});

test('duplicate keys and escapes are kept', () => {
  assert.equal(prettyPrinted('{"a":1,"a":2}'), '{\n  "a": 1,\n  "a": 2\n}');
  assert.equal(
    prettyPrinted('["\\u00e9\\/", "\\"]", "\\\\"]'),
    '[\n  "\\u00e9\\/",\n  "\\"]",\n  "\\\\"\n]',
  );
});

test('white space between tokens is replaced, and kept inside strings', () => {
  assert.equal(prettyPrinted(' [ 1 ,\r\n\t{ } , [ ] ] '), '[\n  1,\n  {},\n  []\n]');
  assert.equal(prettyPrinted('{"a  b: ,":"c\u00a0 d"}'), '{\n  "a  b: ,": "c\u00a0 d"\n}');
});

test('invalid or incomplete JSON and single values are not pretty-printed', () => {
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
    assert.equal(prettyPrinted(text), null, text);
});

test('very deep or long JSON is not pretty-printed', () => {
  assert.equal(prettyPrinted(`["${'x'.repeat(1_000_000)}"]`), null);
  assert.equal(prettyPrinted('['.repeat(10_000) + ']'.repeat(10_000)), null);
  assert.ok(prettyPrinted('['.repeat(100) + ']'.repeat(100)));
  assert.equal(prettyPrinted('['.repeat(101) + ']'.repeat(101)), null);
  assert.equal(
    prettyPrinted(`${'['.repeat(90)}${'1,'.repeat(10_000)}1${']'.repeat(90)}`),
    null,
    'short, and of two million characters when it is laid out',
  );
});

test('the layout is that of JSON.stringify', () => {
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
    assert.equal(prettyPrinted(JSON.stringify(one, null, round % 3)), JSON.stringify(one, null, 2));
  }
});

test('parsed data keeps the spelling of its numbers', () => {
  const value = parseExactly('{"a":9007199254740993,"b":[10.00,1e400,5],"c":{"d":-0}}');
  assert.deepEqual(value.b[2], 5);
  assert.equal(value.b[0], 10, 'and is made of numbers');
  assert.equal(spelled(value), '{"a":9007199254740993,"b":[10.00,1e400,5],"c":{"d":-0}}');
  assert.equal(spelled({ a: 1 }), '{"a":1}');
});

test('the numbers of what is shown as JSON keep their spelling when its frame is decoded', () => {
  for (const type of [
    '"type":"ACTIVITY_SNAPSHOT"',
    '"type":"ACTIVITY_DELTA"',
    '"type":"STATE_SNAPSHOT"',
    '"type":"STATE_DELTA"',
    '"type":"state.changed"',
    '"type":"interrupt.answered"',
    '"outcome":{"type":"interrupt","interrupts":[]}',
    '"type": "MESSAGES_SNAPSHOT", "role": "activity"',
    '"type":"MESSAGES_SNAPSHOT","metadata":{"agentws":{"interrupts":[]}}',
    '"type":"MESSAGES_SNAPSHOT","metadata":{"agentws":{"answered":[]}}',
    '"metadata":{"agentws":{"editedArgs":{}}}',
  ]) {
    const [frame] = decode(`{"event":{${type},"content":{"id":9007199254740993}}}`);
    assert.equal(spelled(frame.event.content), '{"id":9007199254740993}', type);
  }
});

test('a patch changes no other number, and spells its own as it was written', () => {
  const log = (shared) => reduce(emptyLog, state('STATE_SNAPSHOT', `"snapshot":${shared}`, 1));
  const state = (type, fields, seq) =>
    decode(`{"id":"e.${seq}.t","event":{"type":"${type}",${fields}}}`)?.[0];
  for (const [before, patch, after] of [
    ['{"a":1.0,"b":2.0}', '{"op":"add","path":"/c","value":3.0}', '{"a":1.0,"b":2.0,"c":3.0}'],
    ['{"a":1.0,"b":2.0}', '{"op":"replace","path":"/a","value":4}', '{"a":4,"b":2.0}'],
    ['{"a":1.0,"b":2.0}', '{"op":"remove","path":"/a"}', '{"b":2.0}'],
    ['{"a":1.0,"b":2.0}', '{"op":"move","from":"/a","path":"/c"}', '{"b":2.0,"c":1.0}'],
    ['{"a":{"b":1e2,"c":0}}', '{"op":"add","path":"/a/c","value":-0}', '{"a":{"b":1e2,"c":-0}}'],
    ['[1.0,2.0,3.0]', '{"op":"add","path":"/1","value":9.0}', '[1.0,9.0,2.0,3.0]'],
    ['[1.0,2.0,3.0]', '{"op":"add","path":"/-","value":9}', '[1.0,2.0,3.0,9]'],
    ['[1.0,2.0,3.0]', '{"op":"replace","path":"/1","value":9}', '[1.0,9,3.0]'],
    ['[1,2.0,3.0]', '{"op":"remove","path":"/1"}', '[1,3.0]'],
    ['[1,2.0,[3.0,4]]', '{"op":"remove","path":"/2/1"}', '[1,2.0,[3.0]]'],
    ['[1,2.0]', '{"op":"copy","from":"/1","path":"/0"}', '[2.0,1,2.0]'],
    ['{"a":[1.0]}', '{"op":"copy","from":"","path":"/b"}', '{"a":[1.0],"b":{"a":[1.0]}}'],
    ['{"a":1.0}', '{"op":"replace","path":"","value":{"b":1e400}}', '{"b":1e400}'],
  ]) {
    const first = log(before);
    for (const [type, name] of [
      ['STATE_DELTA', 'delta'],
      ['state.changed', 'patch'],
    ])
      assert.equal(
        spelled(reduce(first, state(type, `"${name}":[${patch}]`, 2)).shared),
        after,
        patch,
      );
    assert.equal(spelled(first.shared), before, 'the value itself is left alone');
  }
});

test('a number that was parsed can be sent as the value of another member', () => {
  const choices = parseExactly('[9007199254740993, 5, "a"]');
  const answer = { n: exactMember(choices, '0'), m: exactMember(choices, '1') };
  assert.equal(encode(answer), '{"n":9007199254740993,"m":5}');
  assert.equal(exactMember(choices, '2'), 'a');
});
