/**
 * Folds logs for a test that isn't written in JavaScript: a list of logs comes in as JSON, each a list
 * of event frames, or one with the older pages that are then put before it. What each of them means
 * goes out.
 */
import { readFileSync } from 'node:fs';
import { emptyLog } from '../../agentws/web/client.js';
import { prepend } from '../../agentws/web/reducer.js';
import { fold } from './logs.mjs';

/** Without what only who saw the run knows for certain: which it was, and what was left of it. */
function told({ messages, shared, title }) {
  const said = messages.filter(({ role }) => role !== 'notice');
  return { messages: said.map(message), shared: shared ?? null, title };
}

const message = ({ run, toolCalls, ...rest }) => ({
  ...rest,
  ...(toolCalls && { toolCalls: toolCalls.map(call) }),
});

const call = ({ status, ...rest }) => ({
  ...rest,
  ...('result' in rest && { status }),
});

const logs = JSON.parse(readFileSync(0, 'utf8'));
const whole = (log) =>
  Array.isArray(log)
    ? fold(emptyLog, log)
    : log.older.reduce(prepend, fold(emptyLog, log.frames));
process.stdout.write(JSON.stringify(logs.map((log) => told(whole(log)))));
