/**
 * Groups the items of a conversation: the sources of an answer in one list, the work of a subagent in one card,
 * and the name of the agent where it changes. Pure.
 *
 * @module
 */

/**
 * @typedef {import('./items.js').Item} Item
 * @typedef {import('../client.js').ChatSnapshot} ChatSnapshot
 */

/** @param {Item[]} items @param {ChatSnapshot} snapshot @returns {Item[]} */
export function grouped(items, snapshot) {
  return named(withSources(withSubagents(items, snapshot)), snapshot);
}

/** Sources come while the answer is written; they are listed at the end of the turn. @param {Item[]} items */
function withSources(items) {
  /** @type {Item[]} */
  const result = [];
  /** @type {any[]} */
  let sources = [];
  const flush = () => {
    if (sources.length > 0)
      result.push({
        key: `sources:${sources[0].id}`,
        kind: 'sources',
        sources,
        of: sources.length,
      });
    sources = [];
  };
  for (const item of items) {
    if (item.kind === 'user' || item.kind === 'command') flush();
    if (item.kind === 'activity' && item.message.activityType === 'agentws.source')
      sources.push(item.message);
    else result.push(item);
  }
  flush();
  return result;
}

/** @param {Item[]} items @param {ChatSnapshot} snapshot @returns {Item[]} */
function withSubagents(items, { runs, interrupts }) {
  /** @type {Map<string, Item>} */
  const groups = new Map();
  /** @type {Item[]} */
  const result = [];
  for (const item of items) {
    const { subagent, run, name } = item.message ?? {};
    if (subagent === undefined) {
      result.push(item);
      continue;
    }
    const known = groups.get(subagent);
    const told = runs[run ?? '']?.subagents?.[subagent] ?? known?.subagent ?? { name };
    const group = known ?? { key: `subagent:${subagent}`, kind: 'subagent', items: [] };
    if (!known) result.push(group);
    const calls = item.message.toolCalls ?? [];
    const waits = calls.some((/** @type {any} */ call) =>
      interrupts.some(({ toolCallId }) => toolCallId === call.id),
    );
    groups.set(subagent, Object.assign(group, { subagent: told, waits: group.waits || waits }));
    group.items.push(item);
  }
  return result;
}

/** @param {Item[]} items @param {ChatSnapshot} snapshot @returns {Item[]} */
function named(items, { agents }) {
  if (agents.length < 2) return items;
  /** @type {string | undefined} */
  let last;
  return items.map((item) => {
    if (item.kind === 'user') last = undefined;
    if (item.kind !== 'assistant') return item;
    const { name } = item.message;
    const shown = name === last ? undefined : name;
    // A call of a tool has no name.
    last = name ?? last;
    return { ...item, agent: shown };
  });
}
