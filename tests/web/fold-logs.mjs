/**
 * Folds logs for a test in another language. Standard input has a JSON list of logs, each a list of event
 * frames, or one with older pages to prepend. Standard output gets the folded logs.
 */
import { readFileSync } from 'node:fs';
import { emptyLog } from '../../agentws/web/client.js';
import { prepend } from '../../agentws/web/reducer.js';
import { fold } from './logs.mjs';

/** Removes what a snapshot does not have: the run of a message, the status of an open call, and notices. */
function comparable({ messages, queue, shared, title }) {
  const lasting = messages.filter(({ role }) => role !== 'notice');
  const waiting = queue.map(({ id, text }) => [id, text]);
  return { messages: lasting.map(message), queue: waiting, shared: shared ?? null, title };
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
  Array.isArray(log) ? fold(emptyLog, log) : log.older.reduce(prepend, fold(emptyLog, log.frames));
process.stdout.write(JSON.stringify(logs.map((log) => comparable(whole(log)))));
