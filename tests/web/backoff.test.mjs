import assert from 'node:assert/strict';
import test from 'node:test';
import { retryDelay } from '../../agentws/web/client.js';

test('the first retry is immediate', () => {
  assert.equal(
    retryDelay(0, () => 0.999),
    0,
  );
});

test('later retries have full jitter over a window that doubles up to a cap', () => {
  const longest = [1, 2, 3, 4, 5, 6, 7, 8, 100].map((attempt) => retryDelay(attempt, () => 1));
  assert.deepEqual(longest, [300, 600, 1200, 2400, 4800, 9600, 15000, 15000, 15000]);
  assert.equal(
    retryDelay(5, () => 0),
    0,
  );
});

test('the delay that the server asked for is a minimum, with jitter behind it', () => {
  assert.equal(
    retryDelay(0, () => 0, { atLeast: 2000 }),
    2000,
  );
  assert.equal(
    retryDelay(0, () => 0.5, { atLeast: 2000 }),
    2150,
  );
  assert.equal(
    retryDelay(4, () => 0.5, { atLeast: 2000 }),
    3200,
  );
});
