/** The fields that the page makes of a JSON Schema, and what it says of an answered question. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { fieldsOf, numberOf, parsed } from '../../agentws/web/page/forms.js';
import { durationText, progressText } from '../../agentws/web/page/progress.js';
import { outcomeOf, sentenceOf } from '../../agentws/web/page/questions.js';

const kinds = (properties, more) =>
  fieldsOf({ type: 'object', properties, ...more })?.map(({ kind }) => kind) ?? null;

test('an object with simple properties has a field for each', () => {
  const simple = { s: { type: 'string' }, n: { type: 'number' }, i: { type: 'integer' } };
  assert.deepEqual(kinds(simple), ['string', 'number', 'integer']);
  assert.deepEqual(kinds({ e: { enum: [1, 'two', null] } }), null);
  assert.deepEqual(kinds({ e: { enum: [1, 'two'] }, c: { const: 'x' } }), ['choice', 'choice']);
});

test('a boolean may be left open only if it is optional and has no default', () => {
  const flag = { b: { type: 'boolean' } };
  assert.deepEqual(kinds(flag), ['choice']);
  assert.deepEqual(kinds(flag, { required: ['b'] }), ['boolean']);
  assert.deepEqual(kinds({ b: { type: 'boolean', default: false } }), ['boolean']);
});

test('references and optional types are followed', () => {
  const schema = {
    $ref: '#/$defs/Trip',
    $defs: {
      Trip: { type: 'object', properties: { c: { $ref: '#/$defs/City' } } },
      City: { anyOf: [{ type: 'string' }, { type: 'null' }] },
    },
  };
  assert.equal(fieldsOf(schema)?.[0].kind, 'string');
  assert.equal(fieldsOf({ $ref: '#/$defs/A', $defs: { A: { $ref: '#/$defs/A' } } }), null);
});

test('what is not simple has no fields', () => {
  for (const schema of [undefined, null, 7, [], {}, { type: 'array' }, { $ref: '#/gone' }])
    assert.equal(fieldsOf(schema), null);
  assert.equal(kinds({ list: { type: 'array' } }), null);
  assert.equal(kinds({ any: true }), null);
  assert.equal(kinds({}), null);
});

test('a number that a form can not carry exactly is refused', () => {
  assert.equal(numberOf('1.50'), 1.5);
  assert.equal(numberOf('-1.20e-7'), -1.2e-7);
  assert.equal(numberOf('9007199254740994'), 9007199254740994);
  for (const text of ['9007199254740993', '0.12345678901234567891', '-12345678901234567.5'])
    assert.throws(() => numberOf(text), /too many digits/, text);
  assert.throws(() => numberOf('x'), /not a number/);
  assert.throws(() => parsed(' '), /nothing here/);
  assert.throws(() => parsed('{'), /not JSON/);
});

test('an outcome says who answered', () => {
  const outcome = (answer, who = null) => outcomeOf({ status: 'resolved', ...answer }, who);
  assert.equal(outcome({ payload: 'small' }), 'Answered: small');
  assert.equal(outcome({ payload: { a: 1 }, by: 'ann' }), 'ann answered: {"a":1}');
  assert.equal(outcome({ payload: { approved: true }, by: 'ann' }, 'ann'), 'You approved');
  assert.equal(outcome({ payload: { approved: false }, by: 'ann' }, 'bob'), 'ann denied');
  const denied = { approved: false, reason: 'Too much.' };
  assert.equal(outcome({ payload: denied }), 'Denied: Too much.', 'with the reason');
  assert.equal(outcome({ payload: 'a'.repeat(1000) }).length, 1010, 'whole');
  assert.equal(outcome({ payload: parsed('[1.0]') }), 'Answered: [1.0]', 'as it was written');
  assert.equal(outcome({ payload: 0 }), 'Answered: 0');
  assert.equal(outcome({ payload: null }), 'Answered');
  assert.equal(outcome({ status: 'cancelled' }), 'Declined');
  assert.equal(outcome({ status: 'cancelled', expired: true }), 'Nobody answered in time');
});

test('a refusal says what was expected', () => {
  assert.equal(sentenceOf({ message: 'No.' }), 'No.');
  assert.equal(sentenceOf({ message: 'No.', expected: 'a or b' }), 'No. Expected: a or b.');
});

test('progress and durations are short', () => {
  assert.equal(progressText({ message: 'Packing', done: 1, total: 2 }), 'Packing \u00b7 1 of 2');
  assert.equal(progressText({ done: 3 }), '3');
  assert.equal(progressText({}), 'Working');
  assert.deepEqual([0.01, 0.42, 12.4, 75, 'x'].map(durationText), [
    '',
    '0.4 s',
    '12 s',
    '1 min 15 s',
    '',
  ]);
});
