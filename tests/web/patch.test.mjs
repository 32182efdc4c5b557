import assert from 'node:assert/strict';
import test from 'node:test';
import { applyPatch } from '../../agentws/web/client.js';

/** @type {[string, unknown, import('../../agentws/web/client.js').Operation[], unknown][]} */
const cases = [
  ['adds a member', { a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
  ['inserts into a list', [1, 3], [{ op: 'add', path: '/1', value: 2 }], [1, 2, 3]],
  ['appends to a list', [1], [{ op: 'add', path: '/-', value: 2 }], [1, 2]],
  ['replaces the whole', { a: 1 }, [{ op: 'replace', path: '', value: [1] }], [1]],
  [
    'replaces deep inside',
    { a: [{ b: 1 }] },
    [{ op: 'replace', path: '/a/0/b', value: 2 }],
    { a: [{ b: 2 }] },
  ],
  ['removes', { a: 1, b: [1, 2] }, [{ op: 'remove', path: '/b/0' }], { a: 1, b: [2] }],
  ['moves', { a: 1 }, [{ op: 'move', from: '/a', path: '/b' }], { b: 1 }],
  ['copies', { a: [1] }, [{ op: 'copy', from: '/a', path: '/b' }], { a: [1], b: [1] }],
  [
    'tests',
    { a: { x: 1, y: [2] } },
    [{ op: 'test', path: '/a', value: { y: [2], x: 1 } }],
    { a: { x: 1, y: [2] } },
  ],
  [
    'unescapes keys',
    { 'a/b': 1, '~': 2 },
    [
      { op: 'replace', path: '/a~1b', value: 3 },
      { op: 'remove', path: '/~0' },
    ],
    { 'a/b': 3 },
  ],
];

for (const [name, document, patch, expected] of cases) {
  test(name, () => {
    const before = structuredClone(document);
    assert.deepEqual(applyPatch(document, patch), expected);
    assert.deepEqual(document, before, 'the document itself is left alone');
  });
}

/** @type {[unknown, any][]} */
const misfits = [
  [{}, { op: 'remove', path: '/a' }],
  [{}, { op: 'replace', path: '/a', value: 1 }],
  [{}, { op: 'add', path: '/a/b', value: 1 }],
  [[1], { op: 'add', path: '/5', value: 1 }],
  [[1], { op: 'add', path: '/x', value: 1 }],
  [{ a: 1 }, { op: 'test', path: '/a', value: 2 }],
  [{ a: 1 }, { op: 'add', path: 'a', value: 2 }],
  [{ a: 1 }, { op: 'frobnicate', path: '/a' }],
  [{}, { op: 'add', path: '/constructor/x', value: 1 }],
];

for (const [document, operation] of misfits) {
  test(`refuses ${JSON.stringify(operation)} on ${JSON.stringify(document)}`, () => {
    assert.throws(() => applyPatch(document, [operation]), RangeError);
  });
}

test('keys such as __proto__ are plain keys: no prototype pollution', () => {
  const patched = applyPatch({}, [{ op: 'add', path: '/__proto__', value: { polluted: true } }]);
  assert.equal({}.polluted, undefined);
  assert.deepEqual(Object.keys(patched), ['__proto__']);
});
