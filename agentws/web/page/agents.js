/**
 * The choice of the agent, where there are several.
 *
 * @module
 */
import { el } from './dom.js';

const MENTION = /^@([^\n]*)$/;

/**
 * The agents that a text may be about to mention: a mention stands at its beginning. Pure.
 *
 * @param {string} text
 * @param {readonly string[]} agents
 * @returns {string[]}
 */
export function mentionable(text, agents) {
  const typed = MENTION.exec(text)?.[1].toLowerCase();
  if (typed === undefined || agents.length < 2) return [];
  return agents.filter((name) => name.toLowerCase().startsWith(typed));
}

export class AgentPicker {
  #select;
  /** @type {readonly string[]} */
  #agents = [];
  /** The choice that the server has not answered yet. @type {string | null} */
  #chosen = null;

  /**
   * @param {HTMLSelectElement} select
   * @param {{choose: (name: string) => Promise<unknown>, changed: () => void, tell: (sentence: string) => void}} actions
   */
  constructor(select, { choose, changed, tell }) {
    this.#select = select;
    select.addEventListener('change', async () => {
      const name = select.value;
      this.#chosen = name;
      try {
        await choose(name);
      } catch (error) {
        if (this.#chosen === name) tell(/** @type {Error} */ (error).message);
      } finally {
        if (this.#chosen === name) this.#chosen = null;
        changed();
      }
    });
  }

  /** @param {import('../client.js').ChatSnapshot} snapshot */
  update({ agents, agent, connection }) {
    const select = this.#select;
    select.hidden = agents.length < 2;
    select.disabled = connection !== 'open';
    if (select.hidden) return;
    // A router may have chosen an agent that clients can't choose.
    const names = agent === null || agents.includes(agent) ? agents : [agent, ...agents];
    if (names.join('\n') !== this.#agents.join('\n')) {
      this.#agents = names;
      select.replaceChildren(
        ...names.map((name) => el('option', { value: name, dir: 'auto' }, name)),
      );
    }
    const shown = this.#chosen ?? agent ?? names[0];
    if (select.value !== shown) select.value = shown;
  }

  /** Forgets a choice, before another conversation is shown. */
  clear() {
    this.#chosen = null;
  }
}
